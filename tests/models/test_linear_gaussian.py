"""The VAE whose every quantity is known: linear encoder and decoder, Gaussian likelihood.

With p(x | z) = N(Wz + m, s²I) the evidence is log p(x) = log N(x; m, WWᵀ + s²I), the true posterior is
N(M⁻¹Wᵀ(x - m), s²M⁻¹) with M = WᵀW + s²I, and the best W, m, s of given data are probabilistic PCA's (Tipping & Bishop,
1999).
"""

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from aevae_fast.models import VAE

SHAPE, PIXELS, WIDTH, SIGMA = (1, 2, 3), 6, 2, 0.5


class Known(NamedTuple):
    """A linear-Gaussian model in float64."""

    weight: Tensor  # [PIXELS, WIDTH]
    offset: Tensor  # [PIXELS]
    sigma: float

    @property
    def evidence(self) -> MultivariateNormal:
        covariance = self.weight @ self.weight.T + self.sigma**2 * torch.eye(PIXELS, dtype=torch.float64)
        return MultivariateNormal(self.offset, covariance)

    def posterior(self, x: Tensor) -> MultivariateNormal:
        """Of `x [B, PIXELS]`."""
        precision = self.weight.T @ self.weight / self.sigma**2 + torch.eye(WIDTH, dtype=torch.float64)
        mean = torch.linalg.solve(precision, self.weight.T / self.sigma**2 @ (x - self.offset).T).T
        return MultivariateNormal(mean, precision_matrix=precision)


def linear_vae(sigma=SIGMA, learned=False):
    torch.manual_seed(0)
    options = {"likelihood": "gaussian", "likelihood_options": {"sigma": sigma, "learned": learned}}
    return VAE(1, SHAPE[1:], latent_dim=WIDTH, body="mlp", hidden=[], **options)


def known(model) -> Known:
    linear = model.decoder[1]
    return Known(
        linear.weight.detach().double(),
        linear.bias.detach().double(),
        float(torch.as_tensor(model.likelihood.sigma).detach()),
    )


def random_vae():
    """Neither encoder nor posterior has anything to do with the decoder."""
    model = linear_vae()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.7 * torch.randn_like(parameter))
    return model


def pictures(count=5):
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(2))


def proposal(model, x) -> MultivariateNormal:
    """The model's own q(z | x), in float64."""
    with torch.no_grad():
        mean, logvar = (half.double() for half in model.posterior(x))
    return MultivariateNormal(mean, torch.diag_embed(logvar.exp()))


def bound(model, x) -> Tensor:
    """log p(x) - KL(q(z | x) ‖ p(z | x)), from the known model alone."""
    exact, flat = known(model), x.double().flatten(1)
    return exact.evidence.log_prob(flat) - kl_divergence(proposal(model, x), exact.posterior(flat))


def test_evidence_minus_the_gap_is_the_elbo():
    """With the reconstruction's expectation in closed form: that at the mean, less tr(W diag(σ²) Wᵀ)/2s²."""
    model, x = random_vae(), pictures()
    output = model.eval()(x)
    weight, _, sigma = known(model)
    q = proposal(model, x)
    spread = (weight.square() @ q.variance.T).sum(0) / (2 * sigma**2)
    log_prob = model.likelihood.log_prob(model.decoder(output.latent), x).double()
    prior = Normal(torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64))
    exact_kl = kl_divergence(Normal(q.mean, q.stddev), prior).sum(1)
    torch.testing.assert_close(output.kl.double(), exact_kl.mean(), rtol=0, atol=1e-4)
    expected = bound(model, x)
    assert (known(model).evidence.log_prob(x.double().flatten(1)) - expected > 1).all()  # there is a gap
    torch.testing.assert_close(log_prob - spread - exact_kl, expected, rtol=0, atol=1e-4)


def test_the_models_own_elbo_is_that_bound():
    """A narrow posterior, so that 20,000 samples tell the expectation to 1e-4 nats; and a wide one, as well as they
    can, log p(x | z) being quadratic in z and its variance known."""
    model, x = random_vae(), pictures()
    with torch.no_grad():
        model.encoder[1].weight[WIDTH:] = 0
        model.encoder[1].bias[WIDTH:] = math.log(1e-8)
    found = model.elbo(x, samples=20_000, batch_size=100_000).double()
    torch.testing.assert_close(found, bound(model, x), rtol=0, atol=1e-4)

    with torch.no_grad():
        model.encoder[1].bias[WIDTH:] = math.log(0.5)
    found = model.elbo(x, samples=20_000, batch_size=100_000).double()
    exact, q = known(model), proposal(model, x)
    curvature = exact.weight.T @ exact.weight / exact.sigma**2  # Wᵀ W/s², of -log p(x | z)
    slope = (x.double().flatten(1) - exact.offset - q.mean @ exact.weight.T) @ exact.weight / exact.sigma**2
    variance = (slope.square() * q.variance).sum(1) + (curvature @ q.covariance_matrix).square().diagonal(
        dim1=1, dim2=2
    ).sum(1)
    assert ((found - bound(model, x)).abs() < 5 * (variance / 20_000).sqrt()).all()


def perfect_vae():
    """A decoder with orthogonal columns, whose posterior an encoder with diagonal covariance can have, and does."""
    model = linear_vae()
    weight = torch.linalg.qr(torch.randn(PIXELS, WIDTH, dtype=torch.float64))[0] * torch.tensor([1.5, 0.6])
    exact = Known(weight, torch.randn(PIXELS).double(), SIGMA)
    origin = exact.posterior(torch.zeros(1, PIXELS).double())
    with torch.no_grad():
        model.decoder[1].weight.copy_(exact.weight)
        model.decoder[1].bias.copy_(exact.offset)
        slope = exact.posterior(torch.eye(PIXELS).double()).mean - origin.mean
        model.encoder[1].weight[:WIDTH] = slope.T
        model.encoder[1].bias[:WIDTH] = origin.mean[0]
        model.encoder[1].weight[WIDTH:] = 0
        model.encoder[1].bias[WIDTH:] = origin.covariance_matrix[0].diagonal().log()
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("samples", "batch_size"), [(1, 256), (7, 256), (100, 8)])
def test_under_the_true_posterior_every_weight_is_the_evidence(dtype, samples, batch_size):
    model, x = perfect_vae(), pictures()
    expected = known(model).evidence.log_prob(x.double().flatten(1))
    torch.testing.assert_close(bound(model, x), expected, rtol=0, atol=1e-4)
    found = model.to(dtype).log_likelihood(x.to(dtype), samples=samples, batch_size=batch_size)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_importance_sampling_under_another_posterior():
    """Close to the evidence, from below on average, and nearer than the ELBO."""
    model, x = perfect_vae(), pictures(50)
    expected = known(model).evidence.log_prob(x.double().flatten(1))
    with torch.no_grad():
        model.encoder[1].bias[:WIDTH] += 0.3
    gap = expected - bound(model, x)
    error = expected - model.log_likelihood(x, samples=5000, batch_size=50_000)
    assert (gap > 0.1).all()
    assert error.abs().max() < 0.1 * gap.min()


def principal_components(data: Tensor) -> Tensor:
    """The best mean log-likelihood that a model of this width reaches on `data [N, PIXELS]`."""
    eigenvalues = torch.linalg.eigvalsh(torch.cov(data.T, correction=0)).flip(0)
    noise = eigenvalues[WIDTH:].mean()
    log_determinant = eigenvalues[:WIDTH].log().sum() + (PIXELS - WIDTH) * noise.log()
    return -(PIXELS * math.log(2 * math.pi) + log_determinant + PIXELS) / 2


def test_training_reaches_probabilistic_pca():
    """From more than a nat below to within 0.02 nats of the optimum; so does the ELBO, as a diagonal posterior fits the
    rotation that it asks for (Lucas et al., 2019)."""
    torch.manual_seed(1)
    truth = Known(torch.randn(PIXELS, WIDTH).double() * torch.tensor([1.5, 0.8]), torch.randn(PIXELS).double(), 0.4)
    data = truth.evidence.sample((1000,))
    best = principal_components(data)
    model, x = linear_vae(sigma=1.0, learned=True), data.float().view(-1, *SHAPE)
    assert known(model).evidence.log_prob(data).mean() < best - 1

    steps = 400
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        model(x).loss.backward()
        optimizer.step()
        schedule.step()

    reached = known(model).evidence.log_prob(data).mean()
    assert best - 0.02 < reached <= best
    torch.testing.assert_close(
        model.log_likelihood(x, samples=50, batch_size=50_000).mean(), reached, rtol=0, atol=5e-3
    )
    assert best - 0.02 < model.elbo(x, samples=50, batch_size=50_000).double().mean() < best + 0.01
    assert known(model).sigma == pytest.approx(0.4, abs=0.03)
