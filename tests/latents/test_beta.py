"""The Beta bottleneck: divergence, samples, gradients, density."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import special

from aevae_fast.latents import BetaLatent
from aevae_fast.latents._dirichlet_divergence import beta_divergence, log_gamma_gap
from aevae_fast.latents._dirichlet_variate import dirichlet_logits, log_gamma_variate
from aevae_fast.latents.priors import BetaPrior, GaussianPrior

from .bounded_cases import EXTREMES, kolmogorov_smirnov, mean_is, pairs, raw


def exact_divergence(a: list[float], b: list[float]) -> float:
    """KL(Dir(a) ‖ Dir(b)) with 60 digits."""
    with mpmath.workdps(60):
        posterior, prior = [mpmath.mpf(v) for v in a], [mpmath.mpf(v) for v in b]
        total, other = sum(posterior), sum(prior)
        norms = sum(map(mpmath.loggamma, prior)) - sum(map(mpmath.loggamma, posterior))
        norms += mpmath.loggamma(total) - mpmath.loggamma(other)
        slope = mpmath.digamma(total)
        means = sum((p - q) * (mpmath.digamma(p) - slope) for p, q in zip(posterior, prior, strict=True))
        return float(norms + means)


NEAR = [(1 + 1e-4, 1.0), (1.001, 1.001), (1.2, 1 - 1e-3), (1.0, 1.0)]


def test_divergence_of_any_two_and_of_near_ones() -> None:
    """Up to float64's rounding of the sums: of their difference, and of their D, which the other terms cancel."""
    values = (1e-3, 0.3, 5.0, 1e3, 1e6)
    for a in itertools.product(values, values):
        others = [*itertools.product(values, values), *((a[0] * f, a[1] * g) for f, g in NEAR)]
        for b in others:
            tensors = [torch.tensor(value, dtype=torch.float64) for value in (*a, *b)]
            exact = exact_divergence(list(a), list(b))
            total, other = tensors[0] + tensors[1], tensors[2] + tensors[3]
            rounding = 2.0**-51 * float(log_gamma_gap(total, other) + (other - total).abs())
            assert abs(float(beta_divergence(*tensors)) - exact) <= 1e-8 * exact + rounding, (a, b)


def test_divergence_of_the_same_is_0() -> None:
    alpha = torch.nn.functional.softplus(pairs())
    assert (beta_divergence(alpha, alpha, alpha, alpha) == 0).all()


def test_divergence_has_the_closed_forms_gradient() -> None:
    first, second = torch.nn.functional.softplus(pairs()).chunk(2, 1)
    alpha, beta = first.clone().requires_grad_(), second.clone().requires_grad_()
    prior = torch.tensor(0.7, dtype=torch.float64), torch.tensor(30.0, dtype=torch.float64)
    priors = [p.expand_as(alpha).clone().requires_grad_() for p in prior]
    found = torch.autograd.grad(beta_divergence(alpha, beta, *priors).sum(), (alpha, beta, *priors))
    total, other = first + second, prior[0] + prior[1]
    for k, (a, b) in enumerate(zip((first, second), prior, strict=True)):
        pull = (total - other) * torch.polygamma(1, total)
        expected = (a - b) * torch.polygamma(1, a) - pull
        torch.testing.assert_close(found[k], expected, rtol=1e-8, atol=float(1e-12 * pull.abs().max()))
        of_prior = torch.digamma(b) - torch.digamma(a) - torch.digamma(other) + torch.digamma(total)
        torch.testing.assert_close(found[2 + k], of_prior, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("alpha", EXTREMES)
def test_log_gamma_variates_follow_the_distribution(alpha: float) -> None:
    generator = torch.Generator().manual_seed(0)
    held = log_gamma_variate(torch.full((20_000,), alpha, dtype=torch.float64), generator)
    assert held.isfinite().all()
    leading = np.exp(
        alpha * np.minimum(held.numpy(), -50) - special.gammaln(alpha + 1)
    )  # below e^-50 this is F to 1e-22 of it
    cdf = np.where(held < -50, leading, special.gammainc(alpha, np.exp(held.numpy())))
    ordered = np.sort(cdf)
    steps = np.arange(len(ordered) + 1) / len(ordered)
    assert max(np.abs(ordered - steps[1:]).max(), np.abs(ordered - steps[:-1]).max()) * len(ordered) ** 0.5 < 2


@pytest.mark.parametrize("beta", [1e-3, 0.3, 5.0, 1e3])
@pytest.mark.parametrize("alpha", [1e-3, 0.3, 5.0, 1e3])
def test_logits_have_the_implicit_gradient(alpha: float, beta: float) -> None:
    """d logit x/dα and d logit x/dβ at a fixed value of F, by differences of F in 40 digits."""
    leaves = [torch.full((300,), c, dtype=torch.float64, requires_grad=True) for c in (alpha, beta)]
    logits = dirichlet_logits(torch.stack(leaves), 0, torch.Generator().manual_seed(1))
    logit = logits[0] - logits[1]
    slopes = torch.autograd.grad(logit.sum(), leaves)
    held = logit.detach().numpy()
    for k, slope in enumerate(slopes):
        exact = [implicit(float(t), alpha, beta, k) for t in held[::10]]
        torch.testing.assert_close(slope[::10], torch.tensor(exact, dtype=torch.float64), rtol=2e-3, atol=1e-12)


def implicit(logit: float, alpha: float, beta: float, k: int) -> float:
    """-(∂F/∂α_k) / (∂F/∂logit) of Beta(alpha, beta) with 40 digits; of its tail, where x is nearer to 1."""
    if logit > 0:
        return -implicit(-logit, beta, alpha, 1 - k)
    with mpmath.workdps(40):
        x = 1 / (1 + mpmath.exp(-mpmath.mpf(logit)))

        def log_cdf(value: mpmath.mpf) -> mpmath.mpf:
            a, b = (value, mpmath.mpf(beta)) if k == 0 else (mpmath.mpf(alpha), value)
            series = mpmath.hyp2f1(1, a + b, a + 1, x)  # F = x^a (1 - x)^b / (a·B(a, b)) · this
            norm = mpmath.loggamma(a + b) - mpmath.loggamma(a + 1) - mpmath.loggamma(b)
            return a * mpmath.log(x) + b * mpmath.log1p(-x) + norm + mpmath.log(series)

        value = mpmath.mpf((alpha, beta)[k])
        step = value * mpmath.mpf(10) ** -12
        by_value = (log_cdf(value + step) - log_cdf(value - step)) / (2 * step)
        a, b = mpmath.mpf(alpha), mpmath.mpf(beta)
        by_logit = a / mpmath.hyp2f1(1, a + b, a + 1, x)  # x·(1 - x)·density / F
        return float(-by_value / by_logit)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("alpha", "beta"), [(1e-3, 1e-3), (1e-3, 2.0), (0.02, 0.5), (1.0, 1.0), (3.0, 0.4), (1e3, 5.0), (1e6, 1e6)]
)
def test_samples_follow_the_distribution(alpha: float, beta: float, dtype: torch.dtype) -> None:
    encoded = raw(alpha, beta).to(dtype).expand(20_000, -1)
    exact = [float(c) for c in torch.nn.functional.softplus(encoded[0].double())]
    z, _ = BetaLatent()(encoded, generator=torch.Generator().manual_seed(0))
    assert z.dtype == dtype
    assert ((z > 0) & (z < 1)).all()
    assert kolmogorov_smirnov(z[:, 0], lambda x: special.betainc(*exact, x)) < 2


@pytest.mark.parametrize(("alpha", "beta"), [(1e-3, 1e-3), (0.1, 0.3), (1.0, 1.0), (2.0, 7.0), (1e3, 50.0), (1e6, 1e6)])
def test_gradients_of_expectations(alpha: float, beta: float) -> None:
    """E[z], E[z²], and where samples hold it E[ln z], by α and β: means of the samples' gradients, against differences
    of what they are exactly."""

    def first(a: float, b: float) -> float:
        return a / (a + b)

    def second(a: float, b: float) -> float:
        return a * (a + 1) / ((a + b) * (a + b + 1))

    def logarithm(a: float, b: float) -> float:
        return float(special.digamma(a) - special.digamma(a + b))

    cases = [(lambda z: z, first), (lambda z: z.square(), second)]
    cases += [(torch.log, logarithm)] if alpha >= 0.1 else []
    for function, exact in cases:
        encoded = raw(alpha, beta).repeat(100_000, 1).requires_grad_()
        z, _ = BetaLatent()(encoded, generator=torch.Generator().manual_seed(2))
        (gradient,) = torch.autograd.grad(function(z).sum(), encoded)
        by_concentration = gradient / torch.sigmoid(raw(alpha, beta))
        for k, value in enumerate((alpha, beta)):
            step = 1e-4 * value
            steps = [(alpha + (k == 0) * s, beta + (k == 1) * s) for s in (step, -step)]
            expected = (exact(*steps[0]) - exact(*steps[1])) / (2 * step)
            assert mean_is(by_concentration[:, k], expected, 2e-3), (function, k)


@pytest.mark.parametrize(("alpha", "beta"), [(0.05, 0.05), (0.05, 30.0), (1.0, 1.0), (3.0, 0.4), (1e6, 1e6)])
def test_density_integrates_to_1(alpha: float, beta: float) -> None:
    """Over ln z up to ½, then over ln(1 - z): ends that float64 does not hold have no mass to speak of."""
    total = 0.0
    for a, b in ((alpha, beta), (beta, alpha)):
        log_z = -math.log(2) - torch.linspace(0, 40, 400_001, dtype=torch.float64) ** 2 * 0.42
        z = log_z.exp()[:, None]
        density = (BetaPrior(1, alpha=a, beta=b).double().log_prob(z) + log_z).exp()
        total += abs(float(torch.trapezoid(density, log_z)))
    assert total == pytest.approx(1, abs=1e-5)


def test_draw_has_the_density_of_torch_distributions() -> None:
    encoded = pairs((0.3, 1.0, 5.0, 100.0)).repeat(3, 1).float().unflatten(1, (8, 2, 2))
    z, log_q = BetaLatent().draw(encoded, 4, generator=torch.Generator().manual_seed(0))
    assert z.shape == (4, 3, 4, 2, 2)
    assert (log_q.shape, log_q.dtype) == ((4, 3), torch.float64)
    alpha, beta = torch.nn.functional.softplus(encoded.double()).chunk(2, 1)
    expected = torch.distributions.Beta(alpha, beta).log_prob(z.double()).flatten(2).sum(2)
    torch.testing.assert_close(log_q, expected, rtol=1e-10, atol=1e-8)


def test_kl_under_priors() -> None:
    """Closed against any Beta, against another density on the cube the mean of log q - log p; not one on ℝᴰ."""
    torch.manual_seed(0)
    encoded = torch.randn(4, 6)
    alpha, beta = torch.nn.functional.softplus(encoded).chunk(2, 1)
    posterior = torch.distributions.Beta(alpha, beta)
    uniform, other = torch.distributions.Beta(1.0, 1.0), torch.distributions.Beta(torch.tensor([0.5, 2.0, 3.0]), 4.0)
    prior = BetaPrior(3, alpha=[0.5, 2.0, 3.0], beta=4.0)
    for given, expected in ((None, uniform), (BetaPrior(3), uniform), (prior, other)):
        kl = BetaLatent()(encoded, prior=given)[1]
        exact = torch.distributions.kl_divergence(posterior, expected).sum(1)
        torch.testing.assert_close(kl, exact, rtol=1e-4, atol=1e-5)  # theirs is float32 throughout
    with pytest.raises(ValueError, match="prior must have the support 'unit'; GaussianPrior has 'real'"):
        BetaLatent()(encoded, prior=GaussianPrior(3))


def test_prior_samples_and_options() -> None:
    prior = BetaPrior(2, alpha=[1e-3, 2.0], beta=0.5)
    z = prior.sample(20_000, generator=torch.Generator().manual_seed(0))
    assert z.dtype == torch.float32
    for column, alpha in zip(z.T, (1e-3, 2.0), strict=True):
        assert kolmogorov_smirnov(column, lambda x, alpha=alpha: special.betainc(alpha, 0.5, x)) < 2
    again = BetaPrior(2, **prior.options())
    assert torch.equal(again.log_prob(z[:9]), prior.log_prob(z[:9]))
    outside = torch.tensor([[0.5, 1.5], [-1.0, 0.5], [0.5, float("nan")]])
    assert prior.log_prob(outside)[:2].tolist() == [-math.inf, -math.inf]
    assert prior.log_prob(outside)[2].isnan()
    with pytest.raises(ValueError, match="alpha must be positive; got"):
        BetaPrior(2, alpha=0.0)
