"""Mixture log-densities: every form against float64, hard cases, errors."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from aevae_fast import functional, reference

CASES = {  # B, K, D: a block's inside, its borders, one of each, more dimensions than a block of the kernels
    "small": (5, 7, 3),
    "over_a_block": (35, 70, 2),
    "one": (1, 1, 1),
    "wide": (3, 2, 67),
}
IMPLS = ["portable", "triton"]


def mixture(batch: int, size: int, dim: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(batch + size + dim)
    z, mean, logvar = torch.randn(batch, dim), torch.randn(size, dim), torch.randn(size, dim)
    return z.to(dtype), mean.to(dtype), logvar.to(dtype)


def run(tensors: tuple[Tensor, ...], impl: Any, wide: bool = False, **options: Any) -> tuple[Tensor, ...]:
    """joint, marginals and the gradients of what weighs them unevenly."""
    leaves = [t.double().requires_grad_() if wide else t.clone().requires_grad_() for t in tensors]
    joint, marginals = functional.gaussian_logsumexp(*leaves, per_dim=True, impl=impl, **options)
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(t.shape, generator=generator).to(t) for t in (joint, marginals)]
    gradients = torch.autograd.grad((joint, marginals), leaves, weights)
    return joint.detach(), marginals.detach(), *gradients


@pytest.mark.parametrize("diagonals", [(), (0.3,), (0.3, -1.5)], ids=["none", "own", "own_and_next"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("impl", IMPLS)
def test_equals_float64(impl: Any, case: str, diagonals: tuple[float, ...]) -> None:
    batch, size, dim = CASES[case]
    diagonals = diagonals[:size]
    tensors = (*mixture(batch, size, dim), torch.randn(size))
    truth = run(tensors, "reference", wide=True, diagonals=diagonals)
    plain = run(tensors, "reference", diagonals=diagonals)
    found = run(tensors, impl, diagonals=diagonals)
    for ours, same, exact in zip(found, plain, truth, strict=True):
        allowed = 2 * (same - exact).abs().max() + 2e-6 * exact.abs().max()
        assert (ours - exact).abs().max() <= allowed


@pytest.mark.parametrize("impl", ["reference", *IMPLS])
def test_no_weights_mean_ones(impl: Any) -> None:
    z, mean, logvar = mixture(4, 6, 3)
    without = functional.gaussian_logsumexp(z, mean, logvar, impl=impl)
    ones = functional.gaussian_logsumexp(z, mean, logvar, torch.zeros(6), impl=impl)
    assert isinstance(without, Tensor)
    assert torch.equal(without, ones)


def test_equals_a_mixture_of_torch_distributions() -> None:
    z, mean, logvar = mixture(9, 5, 4, torch.float64)
    weight = torch.randn(5).double().log_softmax(0)
    components = torch.distributions.Independent(torch.distributions.Normal(mean, (logvar / 2).exp()), 1)
    expected = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(logits=weight), components)
    found = functional.gaussian_logsumexp(z, mean, logvar, weight)
    torch.testing.assert_close(found, expected.log_prob(z), rtol=1e-12, atol=0)


def test_reference_passes_gradcheck() -> None:
    z, mean, logvar = (t[:4].requires_grad_() for t in mixture(4, 4, 2, torch.float64))
    weight = torch.randn(4, dtype=torch.float64, requires_grad=True)

    def densities(*tensors: Tensor) -> Any:
        return functional.gaussian_logsumexp(*tensors, diagonals=[0.2], per_dim=True)

    assert torch.autograd.gradcheck(densities, (z, mean, logvar, weight))


@pytest.mark.parametrize("impl", IMPLS)
def test_tiny_sigma(impl: Any) -> None:
    """σ = 1e-4, points a few σ from means that lie at 1: an expanded square would lose every digit."""
    torch.manual_seed(0)
    mean = 1 + torch.rand(6, 3)
    logvar = torch.full((6, 3), 2 * math.log(1e-4))
    z = mean[:5] + 2e-4 * torch.randn(5, 3)
    truth = run((z, mean, logvar), "reference", wide=True)
    for ours, exact in zip(run((z, mean, logvar), impl), truth, strict=True):
        assert (ours - exact).abs().max() <= 1e-5 * exact.abs().max()


@pytest.mark.parametrize("impl", IMPLS)
def test_far_points_and_components_left_out(impl: Any) -> None:
    """Densities that underflow keep their logarithm; weight 0 leaves a component out of value and gradient."""
    z, mean, logvar = mixture(3, 4, 2)
    z = z + torch.tensor([[0.0], [1e4], [-1e4]])
    weight = torch.tensor([0.0, -math.inf, 0.5, -math.inf])
    kept = (z, mean[::2], logvar[::2], weight[::2])
    truth = run(kept, "reference", wide=True)
    found = run((z, mean, logvar, weight), impl)
    for ours, exact in zip(found[:3], truth[:3], strict=True):
        assert (ours - exact).abs().max() <= 1e-5 * exact.abs().max()
    for ours, exact in zip(found[3:], truth[3:], strict=True):
        assert (ours[::2] - exact).abs().max() <= 1e-5 * exact.abs().max()
        assert (ours[1::2] == 0).all()


@pytest.mark.parametrize("impl", ["reference", *IMPLS])
def test_a_diagonal_left_out(impl: Any) -> None:
    """-inf: each point's own component does not count for it."""
    z, mean, logvar = mixture(4, 4, 3)
    found = functional.gaussian_logsumexp(z, mean, logvar, diagonals=[-math.inf], impl=impl)
    for b, value in enumerate(found):
        others = [k for k in range(4) if k != b]
        expected = functional.gaussian_logsumexp(z[b : b + 1], mean[others], logvar[others], impl="reference")
        torch.testing.assert_close(value, expected[0])


@pytest.mark.parametrize("impl", IMPLS)
def test_no_component_at_all(impl: Any) -> None:
    z, mean, logvar = mixture(3, 2, 2)
    joint, marginals, *gradients = run((z, mean, logvar, torch.full((2,), -math.inf)), impl)
    assert (joint == -math.inf).all()
    assert (marginals == -math.inf).all()
    assert all((gradient == 0).all() for gradient in gradients)


@pytest.mark.parametrize("impl", IMPLS)
def test_a_point_that_is_not_finite_stays_seen(impl: Any) -> None:
    z, mean, logvar = mixture(3, 4, 2)
    z[1, 0] = math.nan
    joint, marginals = functional.gaussian_logsumexp(z, mean, logvar, per_dim=True, impl=impl)
    assert torch.equal(joint.isnan(), torch.tensor([False, True, False]))
    assert marginals[1, 0].isnan()
    assert marginals.isnan().sum() == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("impl", IMPLS)
def test_half_precision_in_float32_inside(impl: Any, dtype: torch.dtype) -> None:
    tensors = mixture(4, 5, 3, dtype)
    found, truth = run(tensors, impl), run(tensors, "reference", wide=True)
    for ours, exact in zip(found[:2], truth[:2], strict=True):
        assert ours.dtype == torch.float32
        assert (ours - exact).abs().max() <= 2e-6 * exact.abs().max()
    for ours, exact in zip(found[2:], truth[2:], strict=True):
        assert ours.dtype == dtype
        assert (ours - exact).abs().max() <= (torch.finfo(dtype).eps + 2e-6) * exact.abs().max()


@pytest.mark.parametrize("impl", IMPLS)
def test_an_empty_batch(impl: Any) -> None:
    z, mean, logvar = mixture(0, 4, 2)
    joint, marginals, *gradients = run((z, mean, logvar, torch.zeros(4)), impl)
    assert joint.shape == (0,)
    assert marginals.shape == (0, 2)
    assert all((gradient == 0).all() for gradient in gradients)


def test_threads_do_not_change_the_result() -> None:
    tensors = mixture(400, 300, 10)
    usual, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(run(tensors, "portable"))
    finally:
        torch.set_num_threads(usual)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


PEAK = """
import re, torch
from pathlib import Path
from aevae_fast import functional

def peak():  # kB that the process has held at most
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

def both_ways(size):
    tensors = [torch.randn(size, 64).requires_grad_() for _ in range(3)]
    joint, marginals = functional.gaussian_logsumexp(*tensors, per_dim=True)
    torch.autograd.grad(joint.sum() + marginals.sum(), tensors)

torch.set_num_threads(1)
both_ways(64)
before = peak()
both_ways(4096)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process' peak memory")
def test_memory_stays_bounded() -> None:
    """Forward and backward, inputs and gradients, in less than one [B, K] tensor, 64 MiB; [B, K, D] would be 4 GiB."""
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64 * 2**10


def test_the_operations_keep_pytorchs_rules() -> None:
    z, mean, logvar = mixture(4, 5, 3)
    arguments = (z, mean, logvar, torch.randn(5), [0.5])
    ops = torch.ops.aevae_fast
    opcheck(ops.gaussian_logsumexp, (*arguments, True))
    joint, marginals = ops.gaussian_logsumexp(*arguments, True)
    grads = (torch.randn(4), torch.randn(4, 3))
    opcheck(ops.gaussian_logsumexp_backward, (*grads, joint, marginals, *arguments))


def test_compiles_whole() -> None:
    tensors = [t.requires_grad_() for t in mixture(4, 5, 3)]
    compiled = torch.compile(functional.gaussian_logsumexp, fullgraph=True, backend="aot_eager")
    found, expected = compiled(*tensors), functional.gaussian_logsumexp(*tensors)
    assert torch.equal(found, expected)
    for ours, plain in zip(
        torch.autograd.grad(found.sum(), tensors), torch.autograd.grad(expected.sum(), tensors), strict=True
    ):
        assert torch.equal(ours, plain)


Z, M = torch.zeros(3, 2), torch.zeros(4, 2)
ERRORS = [
    (TypeError, "z must be a torch.Tensor; got list", ([1.0], M, M)),
    (TypeError, "mean must be float16, .*; got torch.int64", (Z, M.long(), M)),
    (ValueError, r"z must have shape \[B, D\], D at least 1; got \(3,\)", (Z[:, 0], M, M)),
    (ValueError, r"mean must have shape \[K, 2\], K at least 1; got \(4, 3\)", (Z, torch.zeros(4, 3), M)),
    (ValueError, r"mean must have shape \[K, 2\], K at least 1; got \(0, 2\)", (Z, M[:0], M[:0])),
    (ValueError, r"logvar must have mean's shape, \(4, 2\); got \(3, 2\)", (Z, M, M[:3])),
    (ValueError, r"log_weight must have shape \[4\]; got \(3,\)", (Z, M, M, torch.zeros(3))),
    (TypeError, "log_weight must be float32 .*; got torch.float16", (Z, M, M, torch.zeros(4).half())),
    (TypeError, "float64 all or none; got z torch.float32, mean torch.float64", (Z, M.double(), M)),
    (TypeError, "float64 all or none; .* logvar torch.float64", (Z.half(), M, M.double())),
    (TypeError, "float64 all or none; .* log_weight torch.float64", (Z, M, M, torch.zeros(4).double())),
    (TypeError, "float64 all or none; got z torch.float64, mean torch.float32", (Z.double(), M, M)),
    (ValueError, "logvar must be on z's device, cpu; got meta", (Z, M, M.to("meta"))),
]


@pytest.mark.parametrize(("kind", "message", "arguments"), ERRORS)
def test_errors_name_the_argument(kind: type[Exception], message: str, arguments: Any) -> None:
    with pytest.raises(kind, match=message):
        functional.gaussian_logsumexp(*arguments)


@pytest.mark.parametrize(
    ("kind", "message", "diagonals"),
    [
        (TypeError, "diagonals must be numbers; got tensor", torch.zeros(1)),
        (ValueError, "diagonals must be at most K = 4 numbers; got 5", [0.0] * 5),
        (TypeError, r"diagonals must be numbers; got \[True\]", [True]),
        (ValueError, r"diagonals must not be NaN or \+inf", [math.nan]),
        (ValueError, r"diagonals must not be NaN or \+inf .*; got \[0.0, inf\]", [0.0, math.inf]),
    ],
)
def test_errors_of_diagonals(kind: type[Exception], message: str, diagonals: Any) -> None:
    with pytest.raises(kind, match=message):
        functional.gaussian_logsumexp(Z, M, M, diagonals=diagonals)


def test_reference_is_public() -> None:
    joint, _ = reference.gaussian_logsumexp(Z, M, M)
    assert torch.allclose(joint, torch.full((3,), math.log(4) - math.log(2 * math.pi)))
