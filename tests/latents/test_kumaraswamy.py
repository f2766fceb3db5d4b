"""The Kumaraswamy bottleneck: the map of its samples, divergence, gradients, density."""

import math

import mpmath
import numpy as np
import pytest
import torch

from aevae_fast.latents import BetaLatent, KumaraswamyLatent
from aevae_fast.latents._kumaraswamy_divergence import kumaraswamy_divergence, mean_log_rest
from aevae_fast.latents._kumaraswamy_map import complement, kumaraswamy_log_density, kumaraswamy_variate
from aevae_fast.latents.priors import BetaPrior

from .bounded_cases import EXTREMES, kolmogorov_smirnov, mean_is, pairs, raw


def exact_complement(held: float) -> float:
    """ln(-ln(1 - p)), p = exp(-e^held)."""
    with mpmath.workdps(40):
        y = mpmath.exp(held)
        return float(mpmath.log(-mpmath.log(-mpmath.expm1(-y)) if held < 0 else -mpmath.log1p(-mpmath.exp(-y))))


def test_complement_is_exact_and_its_own_inverse() -> None:
    held = torch.tensor([-1e4, -100.0, -20.0, -1.0, -0.37, -0.36, 0.0, 1.0, 5.0, 9.0, 10.5], dtype=torch.float64)
    found = complement(held)
    exact = torch.tensor([exact_complement(h) for h in held.tolist()], dtype=torch.float64)
    torch.testing.assert_close(found, exact, rtol=4e-16, atol=4e-16)
    torch.testing.assert_close(complement(found), held, rtol=1e-14, atol=1e-15)


def test_derivatives_of_any_order() -> None:
    torch.manual_seed(0)
    held = torch.linspace(-30, 6, 40, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(complement, held)
    assert torch.autograd.gradgradcheck(complement, held)
    a, b = (torch.rand(8, dtype=torch.float64).mul(4).add(0.2).requires_grad_() for _ in range(2))
    exponential = torch.empty(8, dtype=torch.float64).exponential_()
    assert torch.autograd.gradgradcheck(lambda a, b: kumaraswamy_variate(exponential, a, b), (a, b))


def test_it_is_the_formula() -> None:
    """x = (1 - (1 - u)^(1/b))^(1/a), where the formula itself is good."""
    u, a, b = torch.rand(3, 1000, dtype=torch.float64)
    a, b = 0.5 + 3 * a, 0.5 + 3 * b
    found = torch.exp(-kumaraswamy_variate(-torch.log1p(-u), a, b).exp())
    torch.testing.assert_close(found, (1 - (1 - u) ** (1 / b)) ** (1 / a), rtol=1e-9, atol=0)
    slope = (kumaraswamy_log_density(found, a, b).exp() * found).log()
    expected = torch.log(a * b * found**a * (1 - found**a) ** (b - 1))
    torch.testing.assert_close(slope, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("a", "b"), [(1e-3, 1e-3), (1e-3, 1e6), (0.02, 0.5), (1.0, 1.0), (3.0, 0.4), (1e3, 5.0), (1e6, 1e6)]
)
def test_samples_follow_the_distribution(a: float, b: float, dtype: torch.dtype) -> None:
    encoded = raw(a, b).to(dtype).expand(20_000, -1)
    first, second = (float(c) for c in torch.nn.functional.softplus(encoded[0].double()))

    def distribution(x: np.ndarray) -> np.ndarray:
        return -np.expm1(second * np.log(-np.expm1(first * np.log(x))))

    z, _ = KumaraswamyLatent()(encoded, generator=torch.Generator().manual_seed(0))
    assert z.dtype == dtype
    assert ((z > 0) & (z < 1)).all()
    assert kolmogorov_smirnov(z[:, 0], distribution) < 2


@pytest.mark.parametrize(("a", "b"), [(1e-3, 1e-3), (0.1, 0.3), (1.0, 1.0), (2.0, 7.0), (1e3, 50.0), (1e6, 1e6)])
def test_gradients_of_expectations(a: float, b: float) -> None:
    """E[z] and E[z²] by a and b: means of the samples' gradients, against differences of b·B(1 + n/a, b)."""

    def moment(a: float, b: float, n: int) -> mpmath.mpf:
        return b * mpmath.beta(1 + mpmath.mpf(n) / a, b)

    for n in (1, 2):
        encoded = raw(a, b).repeat(100_000, 1).requires_grad_()
        z, _ = KumaraswamyLatent()(encoded, generator=torch.Generator().manual_seed(2))
        (gradient,) = torch.autograd.grad(z.pow(n).sum(), encoded)
        gradient = gradient / torch.sigmoid(raw(a, b))
        for k, value in enumerate((a, b)):
            with mpmath.workdps(40):
                expected = mpmath.diff(
                    lambda v, k=k, n=n: moment(a if k else v, v if k else b, n), value, h=1e-6 * value
                )
            assert mean_is(gradient[:, k], float(expected), 1e-6), (n, k)


@pytest.mark.parametrize(("a", "b"), [(0.05, 0.05), (0.05, 30.0), (1.0, 1.0), (3.0, 0.4), (1e3, 1e3)])
def test_density_integrates_to_1(a: float, b: float) -> None:
    """Over ln(-ln zᵃ), up to z = 1 - 1e-9, which float64 holds to 1e-7; beyond lie (1 - zᵃ)ᵇ."""
    held = torch.linspace(math.log(a * 1e-9), 4, 400_001, dtype=torch.float64)
    held = held[held.exp() < 700 * a]  # z > e^-700, where Kumaraswamy has next to no mass
    z = (-held.exp() / a).exp()
    first, second = (torch.tensor(v, dtype=torch.float64) for v in (a, b))
    density = kumaraswamy_log_density(z, first, second).exp() * z * -held.exp() / a
    beyond = (-math.expm1(-a * 1e-9)) ** b
    assert -float(torch.trapezoid(density, held)) + beyond == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("a", [1e-3, 0.1, 7.0, 1e6])
@pytest.mark.parametrize("b", [1e-3, 0.1, 7.0, 1e6])
def test_mean_log_rest_is_the_integral(a: float, b: float) -> None:
    """E[ln(1 - x)] with 30 digits, over the logarithm of an exponential variate."""

    def integrand(log_e: mpmath.mpf) -> mpmath.mpf:
        e = mpmath.exp(log_e)
        log_x = mpmath.log1p(-mpmath.exp(-e / b)) / a
        return mpmath.log(-mpmath.expm1(log_x)) * e * mpmath.exp(-e)

    with mpmath.workdps(25):
        exact = float(mpmath.quad(integrand, [-40, -20, *range(-14, 5)], maxdegree=5))
    found = float(mean_log_rest(*(torch.tensor(v, dtype=torch.float64) for v in (a, b))))
    assert abs(found - exact) <= 2e-7 * (1 + abs(exact))


def test_mean_log_rest_has_its_derivatives() -> None:
    first, second = torch.nn.functional.softplus(pairs()).chunk(2, 1)
    leaves = [t.clone().requires_grad_() for t in (first, second)]
    found = torch.autograd.grad(mean_log_rest(*leaves).sum(), leaves)
    for k, value in enumerate((first, second)):
        up, down = ([t * (1 + s * (i == k)) for i, t in enumerate((first, second))] for s in (1e-4, -1e-4))
        difference = (mean_log_rest(*up) - mean_log_rest(*down)) / (2e-4 * value)
        torch.testing.assert_close(found[k], difference, rtol=1e-5, atol=1e-6)


def test_a_second_derivative_is_an_error_or_right() -> None:
    """Closed under a prior of β = 1; by quadrature under others, whose derivatives are numbers."""
    a, b = (t.requires_grad_() for t in torch.tensor([[0.7, 2.0], [1.5, 0.4]], dtype=torch.float64))
    alpha = torch.full_like(a, 2.0)
    assert torch.autograd.gradgradcheck(lambda a, b: kumaraswamy_divergence(a, b, alpha, None), (a, b))
    found = kumaraswamy_divergence(a, b, alpha, alpha).sum()
    first = torch.autograd.grad(found, (a, b), create_graph=True)
    for gradient in first:
        with pytest.raises(RuntimeError, match="differentiate twice"):
            torch.autograd.grad(gradient.sum(), a, retain_graph=True)


def test_mean_log_rest_broadcasts_and_compiles_whole() -> None:
    a = torch.tensor([[0.5], [2.0]], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([0.3, 1.0, 4.0], dtype=torch.float64, requires_grad=True)
    compiled = torch.compile(mean_log_rest, fullgraph=True, backend="aot_eager")
    found, expected = compiled(a, b), mean_log_rest(a, b)
    assert found.shape == (2, 3)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found.sum(), (a, b)), torch.autograd.grad(expected.sum(), (a, b)))


@pytest.mark.parametrize("prior", [(1.0, 1.0), (0.3, 1.0), (2.0, 5.0), (1e-3, 1e3)], ids=str)
def test_divergence_where_it_is_a_beta(prior: tuple[float, float]) -> None:
    """Kumaraswamy(a, 1) is Beta(a, 1), and Kumaraswamy(1, b) is Beta(1, b)."""
    values = torch.nn.functional.softplus(raw(*EXTREMES))
    ones = torch.ones_like(values)
    alpha, beta = (torch.full_like(values, p) for p in prior)
    encoded = torch.stack(
        [torch.cat([raw(*EXTREMES), raw(1.0).expand(7)]), torch.cat([raw(1.0).expand(7), raw(*EXTREMES)])]
    )
    given = BetaPrior(7, alpha=prior[0], beta=prior[1]).double()
    exact = BetaLatent().kl(encoded, given)
    found = KumaraswamyLatent().kl(encoded, given)
    assert exact is not None
    assert found is not None
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-6)
    elementwise = kumaraswamy_divergence(values, ones, alpha, beta)
    assert (elementwise >= -1e-6).all()


def test_divergence_is_the_mean_of_the_densities_ratio() -> None:
    torch.manual_seed(0)
    encoded = 1 + torch.randn(6, 6, dtype=torch.float64)
    prior, layer, samples = (
        BetaPrior(3, alpha=[0.5, 2.0, 3.0], beta=[1.0, 4.0, 0.7]).double(),
        KumaraswamyLatent(),
        20_000,
    )
    z, log_q = layer.draw(encoded, samples)
    estimate = log_q - prior.log_prob(z.flatten(0, 1)).view(samples, 6)
    kl = layer.kl(encoded, prior)
    assert ((estimate.mean(0) - kl).abs() <= 5 * estimate.std(0) / samples**0.5).all()


def test_mean_is_the_first_moment() -> None:
    encoded = pairs()
    a, b = torch.nn.functional.softplus(encoded[0]).chunk(2)
    found = KumaraswamyLatent().mean(encoded)[0]
    with mpmath.workdps(40):
        exact = [float(q * mpmath.beta(1 + 1 / mpmath.mpf(p), q)) for p, q in zip(a.tolist(), b.tolist(), strict=True)]
    limits = torch.finfo(torch.float64)
    expected = torch.tensor(exact, dtype=torch.float64).clamp(limits.tiny, 1 - limits.eps / 2)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=math.ulp(0.0))
