"""`VAE`: its loss beside the same network in plain PyTorch, its weights and schedules, its estimates."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from aevae_fast import functional
from aevae_fast.losses import CyclicalSchedule, LinearSchedule
from aevae_fast.models import VAE

from .image_models import SpatialEncoder, images, small, state


def plain_torch(model, x, eps, beta=1.0):
    """The loss of an MLP VAE as everyone writes it, and the gradients of its weights."""
    encoder, decoder = (copy.deepcopy(part) for part in (model.encoder, model.decoder))
    encoder = nn.Sequential(*[layer for layer in encoder if not isinstance(layer, nn.Flatten)])
    decoder = nn.Sequential(*[layer for layer in decoder if not isinstance(layer, (nn.Flatten, nn.Unflatten))])
    encoder.zero_grad()
    decoder.zero_grad()
    flat = x.flatten(1)
    mean, logvar = encoder(flat).chunk(2, 1)
    z = mean + torch.exp(0.5 * logvar) * eps
    reconstruction = F.binary_cross_entropy_with_logits(decoder(z), flat, reduction="sum")
    kl = -0.5 * torch.sum(1 + logvar - mean.pow(2) - logvar.exp())
    loss = (reconstruction + beta * kl) / len(x)
    loss.backward()
    return [loss.detach(), *(parameter.grad for part in (encoder, decoder) for parameter in part.parameters())]


def ours(model, x):
    """Loss and gradients of a training step, and the noise that it drew."""
    torch.manual_seed(5)
    mean, logvar = (half.detach() for half in model.encoder(x).chunk(2, 1))
    model.zero_grad()
    output = model(x)
    output.loss.backward()
    eps = (output.latent.detach().double() - mean.double()) * torch.exp(-logvar.double() / 2)
    return [output.loss.detach(), *(parameter.grad.clone() for parameter in model.parameters())], eps


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_loss_and_gradients_are_those_of_plain_torch_with_the_same_noise(beta):
    """In float64 but for the last bits; in float32 as near to float64 as plain torch is, up to a factor of 2 and a few
    roundings of z, out of which the noise was taken."""
    single = small(VAE, body="mlp", hidden=[20], latent_dim=4, beta=beta)
    double, x = copy.deepcopy(single).double(), images(16)
    found, eps = ours(double, x.double())
    for mine, theirs in zip(found, plain_torch(double, x.double(), eps, beta), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)

    found, eps = ours(single, x)
    exact = plain_torch(double, x.double(), eps, beta)
    peer = plain_torch(single, x, eps.float(), beta)
    for mine, theirs, truth in zip(found, peer, exact, strict=True):
        scale = torch.finfo(torch.float32).eps * truth.abs().max()
        assert (mine - truth).abs().max() <= 2 * (theirs - truth).abs().max() + 8 * scale


def test_a_map_latent_has_the_same_loss():
    model = small(VAE, encoder=SpatialEncoder(1, 4, 2), decoder=nn.ConvTranspose2d(4, 1, 4, stride=4)).double()
    x = images().double()
    output = model(x)
    mean, logvar = model.posterior(x)
    kl = -0.5 * (1 + logvar - mean**2 - logvar.exp()).sum()
    bce = F.binary_cross_entropy_with_logits(model.decoder(output.latent), x, reduction="sum")
    torch.testing.assert_close(output.loss, (bce + kl) / len(x))


def test_in_eval_the_mean_is_decoded_and_the_kl_is_the_same():
    model, x = small(VAE), images()
    noisy, quiet = model(x), model.eval()(x)
    assert torch.equal(quiet.latent, model.posterior(x)[0])
    assert not torch.equal(noisy.latent, quiet.latent)
    torch.testing.assert_close(noisy.kl, quiet.kl)
    assert torch.equal(model(x).loss, quiet.loss)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({}, lambda recon, kl: recon + kl, id="vae"),
        pytest.param({"beta": 4}, lambda recon, kl: recon + 4 * kl, id="beta"),
        pytest.param({"beta": 0.0}, lambda recon, kl: recon, id="beta-0"),
        pytest.param({"beta": 9.0, "capacity": 3.0}, lambda recon, kl: recon + 9 * abs(kl - 3), id="above-the-kl"),
        pytest.param({"beta": 9.0, "capacity": 0.0}, lambda recon, kl: recon + 9 * kl, id="capacity-0"),
    ],
)
def test_the_loss_weighs_its_parts(options, expected):
    output = small(VAE, **options)(images())
    assert 0 < output.kl < 3
    torch.testing.assert_close(output.loss, expected(output.reconstruction_loss, output.kl))


def test_free_bits_count_in_the_loss_and_the_kl_stays_what_it_is():
    model, x = small(VAE, free_bits=0.02), images()
    output = model(x)
    mean, logvar = model.posterior(x)
    per_element = functional.gaussian_kl(mean, logvar, reduction="none")
    assert 0 < (per_element < 0.02).float().mean() < 1
    torch.testing.assert_close(output.kl, per_element.sum(1).mean())
    counted = per_element.clamp(min=0.02).sum(1).mean()
    torch.testing.assert_close(output.loss, output.reconstruction_loss + counted)
    assert not output.kl.requires_grad


SCHEDULED = {"beta": LinearSchedule(0.0, 4.0, 10), "capacity": {"name": "linear", "start": 0, "end": 2, "steps": 20}}


def test_schedules_follow_set_step():
    model, x = small(VAE, **SCHEDULED).eval(), images()
    for step, beta, capacity in ((0, 0, 0), (5, 2, 0.5), (torch.tensor(10), 4, 1), (100, 4, 2)):
        model.set_step(step)
        output = model(x)
        assert [float(weight) for weight in model.weights()] == pytest.approx([beta, capacity])
        expected = output.reconstruction_loss + beta * abs(output.kl - capacity)
        torch.testing.assert_close(output.loss, expected)


def test_the_step_is_part_of_the_state():
    model, other = small(VAE, **SCHEDULED), small(VAE, **SCHEDULED)
    model.set_step(7)
    other.load_state_dict(model.state_dict())
    assert other.step == 7
    assert other.half().step.dtype == torch.int64


def test_a_compiled_step_is_not_compiled_again_for_another_step():
    torch._dynamo.reset()
    model, x = small(VAE, body="mlp", hidden=[5], **SCHEDULED), images()
    model.set_step(1)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    compiled(x).loss.backward()
    with torch._dynamo.config.patch(error_on_recompile=True):
        for step in (2, 5, 50):
            model.set_step(step)
            torch.manual_seed(step)
            loss = compiled(x).loss
            loss.backward()
            torch.manual_seed(step)
            torch.testing.assert_close(loss, model(x).loss)


def test_the_log_variance_is_taken_within_its_clamp():
    model, x = small(VAE, clamp=(-1, 1), body="mlp"), images()
    with torch.no_grad():
        model.encoder[-1].bias[3:] = torch.tensor([-5.0, 0.0, 5.0])
    mean, logvar = model.posterior(x)
    assert torch.equal(logvar[:, ::2], torch.tensor([-1.0, 1.0]).expand(4, 2))
    torch.testing.assert_close(model(x).kl, functional.gaussian_kl(mean, logvar))
    free = small(VAE, clamp=None, body="mlp")
    free.load_state_dict(model.state_dict())
    assert free.posterior(x)[1].max() > 4


def test_sampling_decodes_the_prior():
    model, drawn = small(VAE), []
    model.decoder.register_forward_pre_hook(lambda module, inputs: drawn.append(inputs[0]))
    model.sample(3000)
    # five standard errors of a mean and of a variance of 3,000 draws
    torch.testing.assert_close(drawn[0].mean(0), torch.zeros(3), rtol=0, atol=5 / 3000**0.5)
    torch.testing.assert_close(drawn[0].var(0), torch.ones(3), rtol=0, atol=5 * (2 / 3000) ** 0.5)


def wide():
    """A model whose decoder listens to z, and whose posterior is no good one."""
    model = small(VAE, body="mlp", hidden=[6], latent_dim=2)
    with torch.no_grad():
        model.decoder[1].weight.mul_(4)
    return model


def test_elbo_is_its_formula_over_many_samples():
    model, x = wide(), images(3)
    mean, logvar = model.posterior(x)
    z = mean + torch.exp(logvar / 2) * torch.randn(20_000, *mean.shape)
    with torch.no_grad():
        drawn = -F.binary_cross_entropy_with_logits(
            model.decoder(z.flatten(0, 1)), x.repeat(20_000, 1, 1, 1), reduction="none"
        )
    drawn = drawn.flatten(1).sum(1).view(20_000, 3)
    expected = drawn.mean(0) - functional.gaussian_kl(mean, logvar, reduction="latent")
    # both are means of 20,000 draws: five standard errors of their difference
    error = 5 * drawn.std(0) * (2 / 20_000) ** 0.5
    found = model.elbo(x, samples=20_000, batch_size=8192)
    assert found.shape == (3,)
    assert not found.requires_grad
    assert ((found - expected).abs() < error).all()
    assert (error < 0.1 * drawn.std(0)).all()


def test_importance_sampling_finds_the_integral():
    """Against p(x) = ∫ p(x | z) p(z) dz on a grid."""
    model, x = wide(), images(3)
    grid = torch.linspace(-6, 6, 241)
    z = torch.cartesian_prod(grid, grid)
    with torch.no_grad():
        logits = model.decoder(z).double()
        log_prior = -z.double().square().sum(1) / 2 - math.log(2 * math.pi)
        exact = []
        for image in x:
            target = image.double().expand_as(logits)
            log_prob = -F.binary_cross_entropy_with_logits(logits, target, reduction="none").flatten(1).sum(1)
            exact.append(torch.logsumexp(log_prob + log_prior, 0) + 2 * math.log(0.05))
    found = model.log_likelihood(x, samples=20_000, batch_size=8192)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, torch.stack(exact), rtol=0, atol=0.02)
    bound = model.elbo(x, samples=5000, batch_size=8192)
    assert (bound < found - 0.1).all()  # the gap that importance sampling closes


@pytest.mark.parametrize("method", ["elbo", "log_likelihood"])
@pytest.mark.parametrize(("count", "samples", "batch_size"), [(3, 10, 7), (5, 4, 2), (2, 3, 1), (1, 9, 100)])
def test_memory_is_bounded_by_batch_size_decodes(method, count, samples, batch_size):
    model, sizes = small(VAE), []
    model.decoder.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    found = getattr(model, method)(images(count), samples=samples, batch_size=batch_size)
    assert found.shape == (count,)
    assert max(sizes) <= batch_size
    assert sum(sizes) == count * samples


@pytest.mark.parametrize("method", ["elbo", "log_likelihood"])
def test_estimates_follow_the_generator_and_leave_the_mode(method):
    model, x = small(VAE), images()
    before = state(model)
    draws = [getattr(model, method)(x, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    with pytest.raises(ValueError, match=r"x must lie in \[0, 1\]"):
        getattr(model, method)(2 * x)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert getattr(model, method)(x[:0]).shape == (0,)


@pytest.mark.parametrize("method", ["elbo", "log_likelihood"])
def test_a_posterior_that_is_not_finite_shows(method):
    model, x = small(VAE, body="mlp"), images()
    with torch.no_grad():
        model.encoder[-1].bias[-1] = torch.inf
    assert not getattr(model, method)(x).isfinite().any()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"beta": -1.0}, ValueError, "beta: .*got -1"),
        ({"beta": math.nan}, ValueError, "beta: .*got nan"),
        ({"beta": "1"}, TypeError, "beta: .*str"),
        ({"beta": LinearSchedule(-1.0, 4.0, 10)}, ValueError, "beta: .*got -1"),
        ({"beta": CyclicalSchedule(0.0, -4.0, 10)}, ValueError, "beta: .*got -4"),
        ({"beta": {"name": "cosine"}}, ValueError, "beta: .*'linear', 'cyclical', 'sigmoid'.*got 'cosine'"),
        ({"beta": {"name": "linear", "start": 0}}, TypeError, "beta: .*missing"),
        ({"capacity": -0.5}, ValueError, "capacity: .*got -0.5"),
        ({"capacity": [1]}, TypeError, "capacity: .*list"),
        ({"free_bits": -1}, ValueError, "free_bits: .*got -1"),
        ({"clamp": (1, -1)}, ValueError, r"clamp must be None or \(lo, hi\)"),
        ({"encoder": SpatialEncoder(1, 3, 1)}, ValueError, r"encoder: expected \[1, 2 \* D, ...\].*got \[1, 3, 2, 2\]"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        small(VAE, **arguments)


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        pytest.param(lambda m: m.log_likelihood(images(), samples=0), ValueError, "samples: .*got 0", id="samples"),
        pytest.param(lambda m: m.elbo(images(), batch_size=0), ValueError, "batch_size: .*got 0", id="batch-size"),
        pytest.param(lambda m: m.elbo(images(), samples=1.5), TypeError, "samples: .*got 1.5", id="not-whole"),
        pytest.param(lambda m: m.elbo(images(2, 3)), ValueError, "x: .*in_channels=1", id="images"),
        pytest.param(lambda m: m.set_step(0.5), TypeError, "step: .*got 0.5", id="step"),
    ],
)
def test_wrong_uses_are_named(use, error, message):
    with pytest.raises(error, match=message):
        use(small(VAE))
