"""`FactorVAE`: who gets which gradient, what the discriminator learns, its modes, its file."""

import math

import pytest
import torch
import torch.nn.functional as F

from aevae_fast.models import VAE, FactorVAE, load_model, save_model
from aevae_fast.models.discriminator import Discriminator, permute_dims

from .image_models import images, small

MLP = {"body": "mlp", "hidden": [20], "discriminator_hidden": [16, 16]}


def parts(model):
    """Parameters of the discriminator, and the others."""
    own = list(model.discriminator.parameters())
    return own, [parameter for parameter in model.parameters() if not any(parameter is one for one in own)]


def gradients(loss, parameters):
    return torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)


def test_each_network_gets_the_gradient_of_its_own_loss_alone():
    model, x = small(FactorVAE, gamma=5.0, **MLP).double(), images(10).double()
    torch.manual_seed(4)
    output = model(x)
    discriminator, rest = parts(model)

    torch.manual_seed(4)  # the same noise, through the VAE on its own
    z = VAE.forward(model, x).latent
    odds = model.discriminator(z)
    torch.testing.assert_close(output.total_correlation, odds.mean())
    vae_loss = output.reconstruction_loss + output.kl + 5 * output.total_correlation
    torch.testing.assert_close(output.loss, vae_loss + output.discriminator_loss)

    torch.testing.assert_close(gradients(output.loss, rest), gradients(vae_loss, rest))
    torch.testing.assert_close(
        gradients(output.loss, discriminator), gradients(output.discriminator_loss, discriminator)
    )
    assert all(gradient is None for gradient in gradients(output.total_correlation, discriminator))
    assert all(gradient is None for gradient in gradients(output.discriminator_loss, rest))
    assert any(gradient is not None and gradient.any() for gradient in gradients(output.total_correlation, rest))


def test_frozen_weights_change_neither_values_nor_the_gradient_of_z():
    discriminator = Discriminator(3, [8, 8]).double()
    z = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    values = [discriminator(z, frozen=frozen) for frozen in (True, False)]
    assert torch.equal(*values)
    assert torch.equal(*(torch.autograd.grad(value.sum(), z)[0] for value in values))
    assert torch.autograd.gradcheck(lambda z: discriminator(z, frozen=True), z)


def test_each_dimension_is_shuffled_on_its_own():
    torch.manual_seed(0)
    z = torch.arange(200.0)[:, None] + torch.tensor([0, 1000, 2000])
    shuffled = permute_dims(z)
    assert torch.equal(shuffled.sort(0).values, z)
    orders = (shuffled - torch.tensor([0, 1000, 2000])).T
    assert len({tuple(order.tolist()) for order in orders}) == 3


def test_the_discriminator_learns_the_total_correlation_of_a_gaussian():
    """z1, z2 ~ N(0, 1) with correlation ρ: TC = -½ log(1 - ρ²)."""
    torch.manual_seed(0)
    rho = 0.8
    model = small(FactorVAE, latent_dim=2, body="mlp", hidden=[4], discriminator_hidden=[64, 64])
    optimizer = torch.optim.Adam(model.discriminator.parameters(), 2e-3)

    def draw(count):
        z = torch.randn(count, 2)
        return torch.stack([z[:, 0], rho * z[:, 0] + math.sqrt(1 - rho**2) * z[:, 1]], 1)

    for _ in range(500):
        optimizer.zero_grad()
        model._discriminator_loss(draw(1024)).backward()
        optimizer.step()
    with torch.no_grad():
        found = float(model.discriminator(draw(20000)).mean())
    assert abs(found + math.log(1 - rho**2) / 2) < 0.05


def test_eval_is_the_vaes_of_any_batch():
    model, x = small(FactorVAE, **MLP).eval(), images(1)
    output = model(x)
    expected = VAE.forward(model, x)
    assert torch.equal(output.loss, expected.loss)
    assert torch.equal(output.reconstruction, expected.reconstruction)
    assert output.total_correlation.isnan()
    assert output.discriminator_loss.isnan()


def test_gamma_follows_the_step():
    model, x = small(FactorVAE, gamma={"name": "linear", "start": 0.0, "end": 8.0, "steps": 4}, **MLP), images(6)
    for step, gamma in {0: 0.0, 1: 2.0, 9: 8.0}.items():
        model.set_step(step)
        output = model(x)
        rest = output.loss - output.reconstruction_loss - output.kl - output.discriminator_loss
        torch.testing.assert_close(rest, gamma * output.total_correlation, rtol=1e-3, atol=1e-3)


def test_compiles_whole():
    torch._dynamo.reset()
    model, x = small(FactorVAE, **MLP), images(6)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    results = []
    for run in (compiled, model):
        torch.manual_seed(0)
        loss = run(x).loss
        results.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    torch.testing.assert_close(*results)


def test_one_optimizer_trains_both():
    torch.manual_seed(0)
    model, x = small(FactorVAE, gamma=2.0, **MLP), (images(64) > 0.9).float()
    discriminator, rest = ([parameter.clone() for parameter in part] for part in parts(model))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    outputs = []
    for _ in range(60):
        optimizer.zero_grad()
        outputs.append(model(x))
        outputs[-1].loss.backward()
        optimizer.step()
    elbos = [float((output.reconstruction_loss + output.kl).detach()) for output in outputs]
    assert sum(elbos[-5:]) < 0.8 * sum(elbos[:5])
    assert math.isclose(float(outputs[0].discriminator_loss.detach()), math.log(2), rel_tol=0.1)
    for before, after in zip((discriminator, rest), parts(model), strict=True):
        assert all(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_comes_back_from_its_file(tmp_path):
    model, x = small(FactorVAE, gamma=3.0, **MLP), images(3)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert isinstance(loaded, FactorVAE)
    assert loaded.gamma == 3.0
    assert torch.equal(loaded.discriminator(loaded.encode(x)), model.discriminator(model.encode(x)))


def test_the_papers_discriminator_is_the_default():
    widths = [layer.out_features for layer in FactorVAE(image_size=8, body="mlp").discriminator.layers]
    assert widths == [1000] * 6 + [1]
    z = torch.randn(4, 16)
    layers = FactorVAE(image_size=8, body="mlp").discriminator.double()
    expected = z.double()
    for layer in layers.layers[:-1]:
        expected = F.leaky_relu(layer(expected), 0.2)
    torch.testing.assert_close(layers(z.double()), layers.layers[-1](expected)[:, 0])


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="x: expected a batch of at least 4, of which two are shuffled, got 3"):
        small(FactorVAE, **MLP)(images(3))
    with pytest.raises(ValueError, match="gamma: expected a finite number, 0 or more, got -1"):
        small(FactorVAE, gamma=-1.0)
    with pytest.raises(TypeError, match="discriminator_hidden: expected a sequence of whole numbers, got 8"):
        small(FactorVAE, discriminator_hidden=8)
