"""`IWAE`: its loss beside plain formulas with the same draws, its gradient, its modes, its file."""

import pytest
import torch

from aevae_fast.models import IWAE, VAE, load_model, save_model

from .image_models import images, small

MLP = {"body": "mlp", "hidden": [20]}


def plain(model, x, noise):
    """-log (1/K) Σ_k w_k of a Gaussian latent, an image and a sample at a time."""
    mean, logvar = model.encoder(x).chunk(2, 1)
    q, p = torch.distributions.Normal(mean, torch.exp(logvar / 2)), torch.distributions.Normal(0.0, 1.0)
    log_weights = []
    for eps in noise:
        z = mean + torch.exp(logvar / 2) * eps
        pixels = torch.distributions.Bernoulli(logits=model.decoder(z)).log_prob(x).flatten(1).sum(1)
        log_weights.append(pixels + p.log_prob(z).sum(1) - q.log_prob(z).sum(1))
    return -torch.stack(log_weights).exp().mean(0).log().mean()


def test_loss_and_gradients_are_those_of_the_formula_with_the_same_noise():
    model, x = small(IWAE, samples=4, **MLP).double(), images(5).round().double()
    torch.manual_seed(3)
    noise = torch.randn(4, 5, 3, dtype=torch.float64)
    torch.manual_seed(3)
    loss = model(x).loss
    expected = plain(model, x, noise)
    torch.testing.assert_close(loss, expected)
    parameters = list(model.parameters())
    torch.testing.assert_close(torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters))


def test_more_samples_come_nearer_to_the_likelihood_and_one_is_the_elbo():
    x = images(64)
    models = {samples: small(IWAE, samples=samples, **MLP) for samples in (1, 8, 64)}
    losses = {samples: float(model(x).loss.detach()) for samples, model in models.items()}
    assert losses[1] > losses[8] > losses[64]
    output = models[1](x)
    torch.testing.assert_close(output.loss.detach(), output.reconstruction_loss + output.kl)
    assert not output.kl.requires_grad
    torch.manual_seed(0)
    likelihood = models[64].log_likelihood(x, samples=2000).mean()
    assert abs(losses[64] + likelihood) < 0.1 * (losses[1] + likelihood)


def test_eval_shows_the_mean_and_keeps_the_bound():
    model, x = small(IWAE, samples=3).eval(), images(4)
    with torch.no_grad():
        output = model(x)
    assert torch.equal(output.latent, model.encode(x))
    torch.testing.assert_close(output.reconstruction, model.reconstruct(x))
    assert output.loss != 0
    assert output._fields == small(VAE)(x)._fields


@pytest.mark.parametrize("options", [{"prior": "gaussian"}, {"latent": "full_covariance"}], ids=["prior", "latent"])
def test_priors_and_posteriors_get_their_gradient(options):
    model = small(IWAE, samples=3, **options)
    model(images(4)).loss.backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_compiles_whole():
    torch._dynamo.reset()
    model, x = small(IWAE, samples=3, **MLP), images(4)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    results = []
    for run in (compiled, model):
        torch.manual_seed(0)
        loss = run(x).loss
        results.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    torch.testing.assert_close(*results)


def test_training_decreases_the_loss():
    model, x = small(IWAE, samples=5, **MLP), (images(32) > 0.9).float()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = model(x).loss
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_comes_back_from_its_file(tmp_path):
    model, x = small(IWAE, samples=7), images(3)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert isinstance(loaded, IWAE)
    assert loaded.samples == 7
    assert torch.equal(loaded.encode(x), model.encode(x))


BAD = {
    "samples": ({"samples": 0}, "samples: expected a positive number, got 0"),
    "beta": ({"beta": 2.0}, "beta: expected 1.0 of an IWAE, got 2.0"),
    "capacity": ({"capacity": 5.0}, "capacity: expected None of an IWAE, got 5.0"),
    "free_bits": ({"free_bits": 0.1}, "free_bits: expected 0.0 of an IWAE, got 0.1"),
    "objective": ({"objective": "dip_vae"}, "objective: expected None of an IWAE, got 'dip_vae'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    options, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        small(IWAE, **options)
