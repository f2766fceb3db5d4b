"""The full-covariance layer against torch.distributions: KL, samples, gradients, layouts, tracing."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.distributions import MultivariateNormal, kl_divergence

from aevae_fast import FullCovarianceGaussianLatent, GaussianLatent


def factor(x: Tensor, size: int) -> Tensor:
    """L of an encoder's output [..., D + D·(D + 1)/2], entry by entry."""
    lower = torch.zeros(*x.shape[:-1], size, size, dtype=x.dtype)
    at = 2 * size
    for row in range(size):
        lower[..., row, row] = x[..., size + row].exp()
        for column in range(row):
            lower[..., row, column] = x[..., at]
            at += 1
    assert at == x.shape[-1]
    return lower


@pytest.mark.parametrize("size", [1, 2, 5])
def test_kl_is_the_distributions(size: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 3, size * (size + 3) // 2, dtype=torch.float64)
    posterior = MultivariateNormal(x[..., :size], scale_tril=factor(x, size))
    prior = MultivariateNormal(torch.zeros(size).double(), torch.eye(size).double())
    expected = kl_divergence(posterior, prior)
    for reduction, reduced in (("none", expected), ("latent", expected.sum(1)), ("batch", expected.sum(1).mean())):
        layer = FullCovarianceGaussianLatent(-1, reduction=reduction)
        torch.testing.assert_close(layer(x)[1], reduced, rtol=1e-12, atol=1e-12)
        single = layer(x.float())[1]
        assert single.dtype == torch.float32
        assert (single - reduced).abs().max() <= 2.0**-24 * (x.shape[-1] + 4) * reduced.abs().max()


def test_samples_have_the_mean_and_the_covariance() -> None:
    torch.manual_seed(0)
    x, n = torch.randn(2, 9) / 2, 100_000
    z, _ = FullCovarianceGaussianLatent(samples=n)(x, generator=torch.Generator().manual_seed(1))
    assert z.shape == (n, 2, 3)
    lower = factor(x, 3)
    covariance = lower @ lower.mT
    whitened = torch.linalg.solve_triangular(lower, (z - x[:, :3])[..., None], upper=False)[..., 0]
    for entry in range(2):
        spread = covariance[entry].diagonal().sqrt()
        assert ((z[:, entry].mean(0) - x[entry, :3]).abs() < 5 * spread * n**-0.5).all()
        error = (z[:, entry].T.cov() - covariance[entry]).abs()
        assert (error < 5 * (2 / n) ** 0.5 * torch.outer(spread, spread)).all()
        assert (whitened[:, entry].pow(4).mean(0) - 3).abs().max() < 5 * (96 / n) ** 0.5  # ε is normal, not only white


def test_without_entries_below_the_diagonal_it_is_the_diagonal_layer() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 8)
    wide = torch.cat([x, torch.zeros(5, 6)], 1)
    options: dict[str, Any] = {"clamp": (-1.0, 0.5), "reduction": "latent"}
    _, kl = FullCovarianceGaussianLatent(**options)(wide)
    torch.testing.assert_close(kl, GaussianLatent(parameterization="logstd", **options)(x)[1])
    near = torch.zeros(1, 9, dtype=torch.float32)
    near[0, 3:] = torch.tensor([1e-7, -1e-6, 1e-4, 1e-7, 0, -1e-6])
    exact = FullCovarianceGaussianLatent()(near.double())[1]
    assert exact > 0
    torch.testing.assert_close(FullCovarianceGaussianLatent()(near)[1].double(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("shape", "dim"), [((4, 9), 1), ((4, 7, 9), -1), ((4, 9, 2, 3), 1), ((4, 2, 9, 3), 2)], ids=str
)
@pytest.mark.parametrize("samples", [None, 3])
def test_layouts_splits_and_eval(shape: tuple[int, ...], dim: int, samples: int | None) -> None:
    torch.manual_seed(0)
    layer, x = FullCovarianceGaussianLatent(dim, samples=samples, reduction="none"), torch.randn(shape)
    mean, cholesky = x.split([3, 6], dim)
    z, kl = layer(x, generator=torch.Generator().manual_seed(7))
    assert z.shape == (*(() if samples is None else (samples,)), *mean.shape)
    assert kl.shape == mean.select(dim, 0).shape
    again = layer(mean, cholesky, generator=torch.Generator().manual_seed(7))
    assert torch.equal(z, again[0])
    assert torch.equal(kl, again[1])
    rows = FullCovarianceGaussianLatent(-1, samples=samples, reduction="none")
    flat, flat_kl = rows(x.movedim(dim, -1), generator=torch.Generator().manual_seed(7))
    torch.testing.assert_close(z.movedim(dim if dim < 0 or samples is None else dim + 1, -1), flat)
    torch.testing.assert_close(kl, flat_kl)
    quiet, same = layer.eval()(x)
    assert torch.equal(quiet, mean if samples is None else mean.expand(3, *mean.shape))
    torch.testing.assert_close(same, kl)


@pytest.mark.parametrize("samples", [None, 2])
def test_gradients(samples: int | None) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 9, 2, dtype=torch.float64, requires_grad=True)
    layer = FullCovarianceGaussianLatent(samples=samples, clamp=(-1, 1), free_bits=0.5, reduction="none")
    assert gradcheck(lambda x: layer(x, generator=torch.Generator().manual_seed(3)), [x])


def test_clamp_and_free_bits_and_what_is_not_finite() -> None:
    x = torch.zeros(1, 14)
    x[0, 4:8] = torch.tensor([-3.0, -2, 2, 3])
    x.requires_grad_()
    z, kl = FullCovarianceGaussianLatent(clamp=(-2, 2))(x)
    (kl + z.sum()).backward()
    assert x.grad is not None
    assert x.grad[0, 4] == x.grad[0, 7] == 0
    assert x.grad[0, 5] != 0 != x.grad[0, 6]
    small = (0.01 * torch.randn(3, 5)).requires_grad_()
    kl = FullCovarianceGaussianLatent(free_bits=0.7)(small)[1]
    assert kl == torch.tensor(0.7)
    assert not torch.autograd.grad(kl, small)[0].any()
    for place in (0, 2, 4):
        for bad in (torch.nan, torch.inf):
            broken = torch.zeros(1, 5)
            broken[0, place] = bad
            assert not FullCovarianceGaussianLatent(clamp=(-2, 2), free_bits=0.5)(broken)[1].isfinite()
    extreme = torch.tensor([[0.0, 0, -15, 10, 3]], requires_grad=True)
    kl = FullCovarianceGaussianLatent()(extreme)[1]
    kl.backward()
    assert kl.isfinite()
    assert extreme.grad is not None
    assert extreme.grad.isfinite().all()


def test_low_precision_is_rounded_once() -> None:
    x = torch.randn(5, 9).bfloat16()
    layer = FullCovarianceGaussianLatent(reduction="latent")
    expected, kl = layer(x.float(), generator=torch.Generator().manual_seed(7))
    for context in (torch.autocast("cpu", torch.bfloat16), torch.autocast("cpu", enabled=False)):
        with context:
            z, low = layer(x, generator=torch.Generator().manual_seed(7))
        assert z.dtype == torch.bfloat16
        assert torch.equal(z, expected.bfloat16())
        torch.testing.assert_close(low, kl)


def test_compiles_without_a_break_and_without_recompiling_for_a_new_batch() -> None:
    torch._dynamo.reset()
    layer = FullCovarianceGaussianLatent(samples=2, clamp=(-10, 10))
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend="aot_eager")
    for batch in (4, 6, 9):
        x = torch.randn(batch, 9, requires_grad=True)
        with torch._dynamo.config.patch(error_on_recompile=batch == 9):
            torch.manual_seed(1)
            ours = compiled(x)
        torch.manual_seed(1)
        expected = layer(x)
        grads = [torch.autograd.grad(z.sin().sum() + kl, x)[0] for z, kl in (ours, expected)]
        torch.testing.assert_close((*ours, grads[0]), (*expected, grads[1]))


def test_it_learns_a_correlation() -> None:
    """The exact posterior of z under x = (z₁ + z₂) + noise is correlated, and the loss is its least at just that."""
    torch.manual_seed(0)
    x = torch.zeros(1, 5, requires_grad=True)
    layer, optimizer = FullCovarianceGaussianLatent(samples=256), torch.optim.Adam([x], lr=0.1)
    for _ in range(80):
        z, kl = layer(x)
        loss = kl + (0.5 * (1 - z.sum(-1)).square() / 0.5**2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    precision = torch.eye(2) + torch.ones(2, 2) / 0.5**2
    covariance = torch.linalg.inv(precision)
    lower = factor(x.detach(), 2)[0]
    torch.testing.assert_close(lower @ lower.T, covariance, rtol=0, atol=0.05)
    torch.testing.assert_close(x.detach()[0, :2], covariance @ torch.full((2,), 4.0), rtol=0, atol=0.05)


def test_repr_says_what_differs() -> None:
    shown = repr(FullCovarianceGaussianLatent(-1, clamp=(-9, 3), samples=2, free_bits=0.5))
    options = "reduction='batch', clamp=(-9, 3), samples=2, free_bits=0.5"
    assert shown == f"FullCovarianceGaussianLatent(dim=-1, {options})"


X = torch.randn(5, 9)
BAD: list[tuple[type[Exception], str, Any]] = [
    (ValueError, "dim must not be the batch", lambda layer: FullCovarianceGaussianLatent(0)),
    (TypeError, "dim must be an int", lambda layer: FullCovarianceGaussianLatent(1.5)),
    (ValueError, "samples must be None or at least 1; got 0", lambda layer: FullCovarianceGaussianLatent(samples=0)),
    (ValueError, "free_bits must be", lambda layer: FullCovarianceGaussianLatent(free_bits=-1)),
    (ValueError, r"along dim 1 \(2, 5, 9, 14, ...\); got shape \(5, 8\)", lambda layer: layer(X[:, :8])),
    (ValueError, "x must have an axis 1 beside the batch", lambda layer: layer(X[0])),
    (ValueError, r"cholesky must have shape \(5, 6\), .*; got \(5, 5\)", lambda layer: layer(X[:, :3], X[:, 4:])),
    (TypeError, "cholesky must have x's dtype", lambda layer: layer(X[:, :3], X[:, 3:].double())),
    (TypeError, "x must be a torch.Tensor; got list", lambda layer: layer([1.0])),
    (TypeError, "must be float16, .*; got torch.int64", lambda layer: layer(X.long())),
]


@pytest.mark.parametrize(("error", "message", "call"), BAD, ids=[b[1][:24] for b in BAD])
def test_bad_input_is_named(error: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(error, match=message):
        call(FullCovarianceGaussianLatent())
