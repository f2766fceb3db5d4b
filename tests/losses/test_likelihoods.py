"""Likelihoods against torch.distributions and brute force: values, gradients, extremes, low precision, tracing."""

import mpmath
import pytest
import torch
import torch.distributions as dist
from torch import Tensor
from torch.autograd import gradcheck

from aevae_fast.losses import LIKELIHOODS, GaussianLikelihood, Likelihood, make_likelihood

from .cases import CASES, DISCRETE, case, images


def by_hand(likelihood: Likelihood, decoded: Tensor, x: Tensor) -> Tensor:
    """log p of each value, from torch.distributions in decoded's dtype, in bins that are not too far out."""
    parts = decoded.chunk(likelihood.outputs_per_channel, 1)
    level = (x * 255).round()
    if likelihood.name == "bernoulli":
        entropy = dist.Bernoulli(x).entropy() if likelihood.options()["subtract_true_entropy"] else 0
        return x * decoded.sigmoid().log() + (1 - x) * (-decoded).sigmoid().log() + entropy
    if likelihood.name == "gaussian":
        return dist.Normal(decoded, likelihood.options()["sigma"]).log_prob(x)
    if likelihood.name == "categorical":
        return dist.Categorical(logits=torch.stack(parts, -1)).log_prob(level.long())
    n = len(parts) // 3
    weight = torch.stack(parts[:n]).log_softmax(0) if n else torch.zeros(1)
    mean, scale = (parts[:1], parts[1:]) if not n else (parts[n : 2 * n], parts[2 * n :])
    masses = []
    for m, s in zip(mean, scale, strict=True):
        centre, half = (2 * level / 255 - 1 - m) * torch.exp(-s), torch.exp(-s) / 255
        inner = (half - centre.abs()).sigmoid() - (-half - centre.abs()).sigmoid()  # symmetric: small in both tails
        ends = torch.where(level == 0, (centre + half).sigmoid(), (half - centre).sigmoid())
        masses.append(torch.where((level > 0) & (level < 255), inner, ends))
    return torch.logsumexp(weight + torch.stack(masses).log(), 0)


@pytest.mark.parametrize("name", CASES)
def test_log_prob_is_the_distributions(name: str) -> None:
    likelihood = case(name)
    decoded, x = images(likelihood, torch.float64)
    expected = by_hand(likelihood, decoded, x)
    exact = likelihood.log_prob(decoded, x)
    assert exact.shape == (2,)
    torch.testing.assert_close(exact, expected.flatten(1).sum(1), rtol=1e-6 if "learned" in name else 1e-12, atol=0)
    single = likelihood.log_prob(decoded.float(), x.float())
    assert single.dtype == torch.float32
    # Each value is right to some ulp of the size of its terms, and a sum of 30 loses no more than that.
    unit = 2.0**-24 * 30 * (expected.abs().amax() + 8)
    assert (single - exact).abs().max() <= 8 * unit


@pytest.mark.parametrize("name", DISCRETE)
@pytest.mark.parametrize("spread", [1.0, 30.0, 1000.0])
def test_the_mass_of_all_levels_is_one(name: str, spread: float) -> None:
    torch.manual_seed(0)
    likelihood = case(name)
    decoded = spread * torch.randn(40, likelihood.outputs_per_channel, dtype=torch.float64)
    levels = torch.arange(256, dtype=torch.float64) / 255
    log_prob = likelihood.log_prob(decoded.repeat_interleave(256, 0), levels.repeat(40)[:, None]).view(40, 256)
    torch.testing.assert_close(log_prob.logsumexp(1), torch.zeros(40, dtype=torch.float64), rtol=0, atol=1e-12)
    single = likelihood.log_prob(decoded.float().repeat_interleave(256, 0), levels.float().repeat(40)[:, None])
    # Bounds of bins are differences of numbers up to spread, over scales down to e^-7, in float32.
    bound = 2.0**-24 * 8 * (1100 * spread if name != "categorical" else 8)
    assert single.isfinite().all()
    assert single.view(40, 256).logsumexp(1).abs().max() <= bound


@pytest.mark.parametrize(("mean", "log_scale"), [(0.1, -6.5), (-0.999, -7), (30.0, -2), (-50.0, -5), (0.3, 7)])
@pytest.mark.parametrize("level", [0, 1, 128, 254, 255])
def test_discretized_logistic_in_the_tails(mean: float, log_scale: float, level: int) -> None:
    decoded, x = torch.tensor([[mean, log_scale]], dtype=torch.float64), torch.tensor([[level / 255]])
    with mpmath.workdps(4000):
        scale, centre = mpmath.exp(log_scale), mpmath.mpf(2 * level) / 255 - 1 - mpmath.mpf(mean)
        upper, lower = (1 / (1 + mpmath.exp(-(centre + mpmath.mpf(side) / 255) / scale)) for side in (1, -1))
        exact = float(mpmath.log((upper if level < 255 else 1) - (lower if level > 0 else 0)))
    ours = case("discretized_logistic").log_prob(decoded, x)
    torch.testing.assert_close(ours, torch.tensor([exact], dtype=torch.float64), rtol=1e-12, atol=1e-300)
    if log_scale > 0:  # wide, so that a bin's mass is a small difference: the logarithms are some 14 in size
        single = case("discretized_logistic").log_prob(decoded.float(), x.float())
        assert abs(single - exact) <= 2.0**-24 * 4 * 14


@pytest.mark.parametrize("name", CASES)
def test_gradients(name: str) -> None:
    likelihood = case(name, levels=16) if name in DISCRETE else case(name)
    likelihood.double()
    decoded, x = images(likelihood, torch.float64)
    decoded, x = decoded[:1, :, 0, :3].clone().requires_grad_(), x[:1, :, 0, :3]  # levels 0, 255 and another
    leaves = [decoded, *likelihood.parameters()]
    assert gradcheck(lambda decoded, *_: likelihood.log_prob(decoded, x), leaves)
    assert (likelihood.log_prob(decoded, x).sum().backward() or decoded.grad).any()  # type: ignore[union-attr]


@pytest.mark.parametrize("name", CASES)
def test_extremes_stay_finite(name: str) -> None:
    likelihood = case(name)
    values = torch.tensor([-1e4, -200.0, 0, 200, 1e4])
    p = likelihood.outputs_per_channel
    grid = torch.cartesian_prod(values, values) if p > 1 else values[:, None]
    decoded = grid.repeat(3, -(-p // grid.shape[1]))[:, :p].requires_grad_()
    x = torch.tensor([0.0, 0.5, 1]).repeat_interleave(len(grid))[:, None]
    log_prob = likelihood.log_prob(decoded, x)
    log_prob.sum().backward()
    assert log_prob.isfinite().all()
    assert decoded.grad is not None
    assert decoded.grad.isfinite().all()
    assert likelihood.mean(decoded).isfinite().all()
    assert likelihood.sample(decoded).isfinite().all()


@pytest.mark.parametrize("name", CASES)
def test_low_precision_and_autocast_compute_in_float32(name: str) -> None:
    likelihood = case(name)
    decoded, x = images(likelihood)
    half = decoded.bfloat16()
    expected = likelihood.log_prob(half.float(), x)
    assert torch.equal(likelihood.log_prob(half, x), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(likelihood.log_prob(half, x), expected)
        assert likelihood.mean(half).dtype == torch.float32
    if name in DISCRETE:
        every = torch.arange(256)[:, None] / 255
        flat = torch.randn(1, likelihood.outputs_per_channel).expand(256, -1)
        for dtype in (torch.bfloat16, torch.float16):
            assert torch.equal(likelihood.log_prob(flat, every.to(dtype)), likelihood.log_prob(flat, every))


@pytest.mark.parametrize("name", CASES)
def test_each_channel_has_its_own_outputs(name: str) -> None:
    likelihood = case(name)
    decoded, x = images(likelihood)
    parts = decoded.unflatten(1, (-1, 3))
    apart = sum(likelihood.log_prob(parts[:, :, c], x[:, c : c + 1]) for c in range(3))
    torch.testing.assert_close(likelihood(decoded, x), apart)
    means = torch.cat([likelihood.mean(parts[:, :, c]) for c in range(3)], 1)
    torch.testing.assert_close(likelihood.mean(decoded), means)
    assert likelihood.sample(decoded).shape == x.shape


def test_subtracting_the_true_entropy_leaves_the_divergence_and_the_gradient() -> None:
    x = torch.tensor([[0.0, 0.2, 0.9, 1]], dtype=torch.float64)
    plain, floored = case("bernoulli"), case("bernoulli_true_entropy")
    best = x.clamp(1e-300, 1 - 1e-16).logit().requires_grad_()
    assert floored.log_prob(best, x).abs().max() < 1e-12
    assert plain.log_prob(best, x) < -0.5
    grads = [torch.autograd.grad(kind.log_prob(best, x).sum(), best)[0] for kind in (plain, floored)]
    assert torch.equal(*grads)


def test_a_learned_sigma_settles_at_the_root_mean_squared_error() -> None:
    torch.manual_seed(0)
    likelihood, x = GaussianLikelihood(1.0, learned=True), torch.rand(500, 4)
    decoded = x + 0.05 * torch.randn(500, 4)
    optimizer = torch.optim.Adam(likelihood.parameters(), lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        (-likelihood.log_prob(decoded, x).mean()).backward()
        optimizer.step()
    assert isinstance(likelihood.sigma, Tensor)
    torch.testing.assert_close(likelihood.sigma.detach(), (x - decoded).square().mean().sqrt(), rtol=1e-2, atol=0)


@pytest.mark.parametrize("name", CASES)
def test_compiles_without_a_break_and_still_refuses(name: str) -> None:
    torch._dynamo.reset()
    likelihood = case(name)
    compiled = torch.compile(likelihood, fullgraph=True, backend="aot_eager")
    decoded, x = images(likelihood)
    decoded.requires_grad_()
    results = [kind(decoded, x) for kind in (compiled, likelihood)]
    grads = [torch.autograd.grad(result.sum(), decoded)[0] for result in results]
    torch.testing.assert_close((results[0], grads[0]), (results[1], grads[1]))
    if likelihood.bounded:
        with pytest.raises(RuntimeError, match="x must lie in"):
            compiled(decoded, x + 0.5)


@pytest.mark.parametrize("name", CASES)
def test_name_and_options_build_it_again(name: str) -> None:
    likelihood = case(name)
    again = make_likelihood(likelihood.name, **likelihood.options())
    assert type(again) is type(likelihood) is LIKELIHOODS[likelihood.name]
    assert again.options() == likelihood.options()
    assert make_likelihood(again) is again
    assert all(f"{key}={value!r}" in repr(again) for key, value in again.options().items())
