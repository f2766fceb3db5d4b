"""The Dirichlet bottleneck: divergence, samples, gradients, density."""

import math

import pytest
import torch
from scipy import special
from torch import Tensor

from aevae_fast.latents import BetaLatent, DirichletLatent
from aevae_fast.latents._dirichlet_divergence import dirichlet_divergence, log_gamma_gap
from aevae_fast.latents.priors import DirichletPrior

from .bounded_cases import kolmogorov_smirnov, mean_is, raw
from .test_beta import exact_divergence

SHARES = {
    "tiny": (1e-3, 1e-3, 1e-3),
    "mixed": (1e-3, 1.0, 1e6, 4.0),
    "small": (0.3, 0.1, 2.0),
    "uniform": (1.0, 1.0, 1.0, 1.0),
    "large": (1e6, 1e6, 2e5),
}


@pytest.mark.parametrize("case", SHARES)
def test_divergence(case: str) -> None:
    alpha = torch.tensor(SHARES[case], dtype=torch.float64)
    ramp = torch.linspace(1, 1.01, len(alpha), dtype=torch.float64)
    for beta in (torch.ones_like(alpha), alpha * ramp, alpha.flip(0), torch.full_like(alpha, 1e-3)):
        total, other = alpha.sum(), beta.sum()
        rounding = len(alpha) * 2.0**-51 * float(log_gamma_gap(total, other) + (other - total).abs())
        exact = exact_divergence(alpha.tolist(), beta.tolist())
        assert abs(float(dirichlet_divergence(alpha, beta)) - exact) <= 1e-8 * exact + rounding


@pytest.mark.parametrize("case", SHARES)
def test_shares_follow_their_marginals(case: str) -> None:
    """Each share is Beta(α_k, α₀ - α_k); all sum to 1; float64."""
    encoded = raw(*SHARES[case]).expand(20_000, -1)
    alpha = torch.nn.functional.softplus(encoded[0])
    z, _ = DirichletLatent()(encoded, generator=torch.Generator().manual_seed(0))
    assert ((z > 0) & (z < 1)).all()
    assert (z.sum(1) - 1).abs().max() <= 4e-16 * z.shape[1]
    for share, own in zip(z.T, alpha, strict=True):
        a, b = float(own), float(alpha.sum() - own)
        assert kolmogorov_smirnov(share, lambda x, a=a, b=b: special.betainc(a, b, x)) < 2


@pytest.mark.parametrize("shares", [(1e-3, 2e-3, 1e-3), (0.3, 0.1, 2.0), (1.0, 5.0, 30.0), (1e6, 1e6, 2e5)], ids=str)
def test_gradients_of_expectations(shares: tuple[float, ...]) -> None:
    """E[z₀], E[z₀·z₁] and E[z₂²] by every α, against differences of what they are exactly."""

    def exact(alpha: Tensor, first: int, second: int | None) -> Tensor:
        total = alpha.sum()
        if second is None:
            return alpha[first] / total
        return alpha[first] * (alpha[second] + (first == second)) / (total * (total + 1))

    alpha = torch.tensor(shares, dtype=torch.float64)
    for first, second in ((0, None), (0, 1), (2, 2)):
        encoded = raw(*shares).repeat(100_000, 1).requires_grad_()
        z, _ = DirichletLatent()(encoded, generator=torch.Generator().manual_seed(3))
        value = z[:, first] * (1 if second is None else z[:, second])
        (gradient,) = torch.autograd.grad(value.sum(), encoded)
        gradient = gradient / torch.sigmoid(raw(*shares))
        for k in range(len(alpha)):
            step = torch.zeros_like(alpha)
            step[k] = 1e-4 * alpha[k]
            expected = (exact(alpha + step, first, second) - exact(alpha - step, first, second)) / (2 * step[k])
            assert mean_is(gradient[:, k], float(expected), 2e-3), (first, second, k)


def test_density_integrates_to_1() -> None:
    """Over the triangle of three shares, by u = z₀ and v = z₁/(1 - z₀) in logits, where the ends decay."""
    at = torch.linspace(-60, 60, 1201, dtype=torch.float64)
    u, v = torch.meshgrid(torch.sigmoid(at), torch.sigmoid(at), indexing="ij")
    z = torch.stack([u, v * (1 - u), (1 - u) * (1 - v)], -1).flatten(0, 1)
    volume = (u * (1 - u) ** 2 * v * (1 - v)).flatten()
    inner = (z > 0).all(1)
    for concentration in (1.0, [0.7, 2.0, 5.0], [1.0, 30.0, 2.0]):
        prior = DirichletPrior(3, concentration=concentration).double()
        density = prior.log_prob(z[inner]).exp() * volume[inner]
        assert float(density.sum()) * 0.1**2 == pytest.approx(1, abs=1e-6)


def test_two_shares_are_a_beta() -> None:
    torch.manual_seed(0)
    encoded = torch.randn(6, 2)
    torch.testing.assert_close(DirichletLatent().kl(encoded), BetaLatent().kl(encoded))
    torch.testing.assert_close(DirichletLatent().mean(encoded)[:, :1], BetaLatent().mean(encoded))


def test_draw_has_the_density_of_torch_distributions() -> None:
    torch.manual_seed(0)
    encoded = torch.randn(4, 5, dtype=torch.float64)
    z, log_q = DirichletLatent().draw(encoded, 7)
    expected = torch.distributions.Dirichlet(torch.nn.functional.softplus(encoded)).log_prob(z)
    torch.testing.assert_close(log_q, expected)


def test_kl_under_priors() -> None:
    torch.manual_seed(0)
    encoded = torch.randn(4, 3, 2)
    posterior = torch.distributions.Dirichlet(torch.nn.functional.softplus(encoded.double()).mT)
    values = torch.rand(6) + 0.1
    prior = torch.distributions.Dirichlet(values.double().view(3, 2).T)
    expected = torch.distributions.kl_divergence(posterior, prior).sum(1)
    layer = DirichletLatent()
    kl = layer(encoded, prior=DirichletPrior(6, concentration=values, size=3))[1]
    torch.testing.assert_close(kl.double(), expected, rtol=1e-6, atol=1e-6)
    assert layer.kl(encoded, DirichletPrior(6, concentration=values)) is None  # one simplex of all six


def test_in_a_model_the_default_prior_has_the_layers_simplices() -> None:
    layer = DirichletLatent()
    layer.bind((3, 2, 2))
    prior = layer.default_prior(12)
    z = prior.sample(50).view(50, 3, 2, 2)
    torch.testing.assert_close(z.sum(1), torch.ones(50, 2, 2))
    assert prior.log_prob(z.flatten(1))[0] == pytest.approx(4 * math.log(2), rel=1e-5)
    torch.testing.assert_close(layer(torch.zeros(2, 3, 2, 2), prior=prior)[1], layer(torch.zeros(2, 3, 2, 2))[1])
    with pytest.raises(ValueError, match="latent_shape must begin with 2 shares or more"):
        layer.bind((1, 4))


def test_prior_options_and_bounds() -> None:
    prior = DirichletPrior(6, concentration=0.4, size=3)
    again = DirichletPrior(6, **prior.options())
    z = prior.sample(9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(prior.log_prob(z), again.log_prob(z))
    z[0, 0], z[1, 0] = -0.1, math.nan
    assert prior.log_prob(z)[0] == -math.inf
    assert prior.log_prob(z)[1].isnan()
    for size in (1, 4):
        with pytest.raises(ValueError, match="size must be 2 or more and divide dim = 6"):
            DirichletPrior(6, size=size)
    with pytest.raises(ValueError, match="concentration must be positive"):
        DirichletPrior(2, concentration=[1.0, 0.0])
