"""The maximum mean discrepancy: against loops over pairs, unbiased, and its two objectives."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from aevae_fast.losses import InfoVAEObjective, Terms, WAEObjective, maximum_mean_discrepancy


def samples(n: int = 6, m: int = 5, dim: int = 3, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return (2 * torch.randn(n, dim) + 0.5).to(dtype), torch.randn(m, dim).to(dtype)


def naive(x: Tensor, y: Tensor, kernel: str, width: float) -> float:
    def k(a: Tensor, b: Tensor) -> float:
        squared = float((a - b).square().sum())
        return width / (width + squared) if kernel == "imq" else math.exp(-squared / width)

    def own(z: Tensor) -> float:
        return sum(k(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j) / (len(z) * (len(z) - 1))

    return own(x) + own(y) - 2 * sum(k(a, b) for a in x for b in y) / (len(x) * len(y))


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
def test_equals_loops_over_pairs(kernel: Any) -> None:
    x, y = samples()
    by_default = maximum_mean_discrepancy(x, y, kernel=kernel)
    assert math.isclose(float(by_default), naive(x, y, kernel, 6.0), rel_tol=1e-12)
    scaled = maximum_mean_discrepancy(x, y, kernel=kernel, bandwidth=0.7, scales=(0.5, 3.0))
    assert math.isclose(float(scaled), sum(naive(x, y, kernel, 0.7 * s) for s in (0.5, 3.0)), rel_tol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("kernel", ["imq", "rbf"])
def test_low_precision_is_computed_in_float32_under_autocast_too(kernel: Any, dtype: torch.dtype) -> None:
    x, y = samples(40, 40, 16, dtype)
    x = x + 100  # far from 0: the distances within x must not feel it
    with torch.autocast("cpu", torch.bfloat16):
        found = maximum_mean_discrepancy(x, y, kernel=kernel)
    assert found.dtype == torch.float32
    exact = maximum_mean_discrepancy(x.double(), y.double(), kernel=kernel)
    assert (found - exact).abs() <= 1e-5 * exact.abs()


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
def test_no_bias_for_samples_of_one_distribution(kernel: Any) -> None:
    """The mean over many small samples is 0 within five standard errors; with the diagonals kept it would be far
    above. For others it is what Gaussian integrals give."""
    torch.manual_seed(1)
    dim, width = 4, 8.0
    drawn = torch.randn(2000, 8, dim, dtype=torch.float64)
    same = torch.stack([maximum_mean_discrepancy(z[:4], z[4:], kernel=kernel) for z in drawn])
    assert same.mean().abs() < 5 * same.std() / math.sqrt(len(same))
    if kernel == "rbf":

        def expected(variance: float) -> float:  # of exp(-‖a‖²/c), a ~ N(0, variance)
            return (1 + 2 * variance / width) ** (-dim / 2)

        wide = torch.stack([maximum_mean_discrepancy(3 * z[:4], z[4:], kernel=kernel) for z in drawn])
        truth = expected(18) + expected(2) - 2 * expected(10)
        assert (wide.mean() - truth).abs() < 5 * wide.std() / math.sqrt(len(wide))


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
def test_gradients_by_differences(kernel: Any) -> None:
    x, y = (t.requires_grad_() for t in samples(4, 3))
    assert torch.autograd.gradcheck(lambda *t: maximum_mean_discrepancy(*t, kernel=kernel), (x, y))


def terms() -> Terms:
    torch.manual_seed(0)
    x, _ = samples()
    return Terms(-10 * torch.rand(6).double(), torch.rand(6).double(), x, None, None, torch.tensor(0))


def test_wae_and_infovae_weigh_one_mmd() -> None:
    """Both draw the prior from torch's generator, after nothing else."""
    t = terms()

    def seeded(objective: Callable[[Terms], Tensor]) -> Tensor:
        torch.manual_seed(3)
        return objective(t)

    torch.manual_seed(3)
    drawn = torch.randn_like(t.z)
    imq, rbf = (maximum_mean_discrepancy(t.z, drawn, kernel=kernel) for kernel in ("imq", "rbf"))  # type: ignore[arg-type]
    torch.testing.assert_close(seeded(WAEObjective(7.0)), 7 * imq - t.log_likelihood.mean())
    expected = 1.25 * t.kl.mean() - t.log_likelihood.mean() + (-0.25 + 3 - 1) * rbf
    torch.testing.assert_close(seeded(InfoVAEObjective(-0.25, 3.0)), expected)
    torch.testing.assert_close(seeded(InfoVAEObjective(0.0, 1.0)), (t.kl - t.log_likelihood).mean())


X = torch.zeros(3, 2)
BAD: dict[str, tuple[type[Exception], str, Callable[[], Any]]] = {
    "one_row": (ValueError, "x must be a batch of at least 2.*; got 1", lambda: maximum_mean_discrepancy(X[:1], X)),
    "width": (ValueError, r"y must have shape \[N, D\]", lambda: maximum_mean_discrepancy(X, X[:, :1])),
    "integers": (TypeError, "y must be a floating-point tensor; got", lambda: maximum_mean_discrepancy(X, X.long())),
    "kernel": (ValueError, "kernel must be one of 'imq', 'rbf'; got 'x'", lambda: WAEObjective(kernel="x")),  # type: ignore[arg-type]
    "bandwidth": (ValueError, "bandwidth must be above 0 and finite; got 0", lambda: WAEObjective(bandwidth=0.0)),
    "bandwidth_type": (TypeError, "bandwidth must be a number; got str", lambda: WAEObjective(bandwidth="1")),  # type: ignore[arg-type]
    "scales": (TypeError, r"scales must be one or more numbers; got \(\)", lambda: WAEObjective(scales=())),
    "scale": (ValueError, "scales must be above 0 and finite; got -1", lambda: WAEObjective(scales=[-1.0])),
    "lambda": (ValueError, "lambda_mmd: expected a finite number, 0 or more", lambda: WAEObjective(-1.0)),
    "alpha": (ValueError, "alpha must be at most 1.*got alpha 2", lambda: InfoVAEObjective(2.0)),
    "sum": (ValueError, "at least 0 and finite; got alpha -1.0, lambda_mmd 1.5", lambda: InfoVAEObjective(-1.0, 1.5)),
    "alpha_type": (TypeError, "alpha must be a number; got str", lambda: InfoVAEObjective("0")),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str) -> None:
    kind, message, call = BAD[case]
    with pytest.raises(kind, match=message):
        call()
