"""The bound that certifies the residual kernel's search, against tensor cores emulated at their worst.

Triton's interpreter multiplies and adds in float32 rounded to nearest, so the kernel's own tests cannot tell whether
exactness rests on that. Here columns come from the kernels, and each step of `width` products is aligned to its largest
addend and cut to 24 bits, the accumulator among them, as the coarsest hardware known does.
"""

from typing import NamedTuple

import pytest
import torch

triton = pytest.importorskip("triton")

import triton.language as tl  # noqa: E402

from aevae_fast.kernels.residual_columns import EXTRA, GROUP, accumulation_bound, row_bounds, row_extra, split  # noqa: E402
from aevae_fast.kernels.residual_configuration import residual_config  # noqa: E402
from aevae_fast.kernels.residual_stages import prepare_stages  # noqa: E402
from tests.exactness import hard_product  # noqa: E402


@triton.jit
def _row_columns_kernel(
    rows_ptr, high_ptr, low_ptr, extra_ptr, bounds_ptr, largest_ptr, kappa,
    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr, EXTRA: tl.constexpr,
):  # fmt: skip
    n = tl.arange(0, BLOCK_N)
    at = n[:, None] * BLOCK_D + tl.arange(0, BLOCK_D)[None, :]
    rows = tl.load(rows_ptr + at)
    high, low, rest = split(rows)
    low = low.to(tl.float32)
    norm, factor, lift = row_bounds(
        tl.sum(rows * rows, 1), tl.sum(low * low, 1), tl.sum(rest * rest, 1), tl.load(largest_ptr), kappa
    )
    tl.store(high_ptr + at, high.to(tl.float32))
    tl.store(low_ptr + at, low)
    tl.store(
        extra_ptr + n[:, None] * EXTRA + tl.arange(0, EXTRA)[None, :], row_extra(norm, factor, lift).to(tl.float32)
    )
    tl.store(bounds_ptr + n * 3, norm)
    tl.store(bounds_ptr + n * 3 + 1, factor)
    tl.store(bounds_ptr + n * 3 + 2, lift)


class Scored(NamedTuple):
    """[N, K] float64, and lift [N, 1]."""

    found: torch.Tensor  # without the lift
    exact: torch.Tensor
    taken: torch.Tensor  # what the columns took off
    error: torch.Tensor  # the bound by which reach counts, from those of the code's group
    lift: torch.Tensor


def cut(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    unit = 2.0 ** (torch.floor(torch.log2(like.abs().clamp_min(2.0**-120))) - 23)
    return torch.trunc(value / unit) * unit


def truncating_dot(a: torch.Tensor, b: torch.Tensor, total: torch.Tensor, width: int) -> torch.Tensor:
    """total [N, K] + a [N, D] · b [K, D]ᵀ, in float64 arithmetic cut to fp32 as above."""
    for start in range(0, a.shape[1], width):
        products = a[:, None, start : start + width] * b[None, :, start : start + width]
        addends = torch.cat([products, total[..., None]], -1)
        total = cut(addends, addends.abs().amax(-1, keepdim=True)).sum(-1)
        total = cut(total, total)
    return total


def scored(rows: torch.Tensor, codebook: torch.Tensor, width: int) -> Scored:
    """Scores of rows [32, D] float32 as the kernel's products give them, and in float64."""
    size, dimension = codebook.shape
    config = residual_config(dimension, "sm_80")
    prepared = prepare_stages(codebook, [size], config)
    padded = torch.nn.functional.pad(rows - prepared.shift, (0, config.block_d - dimension))
    high, low = torch.empty_like(padded), torch.empty_like(padded)
    extra, bounds = padded.new_empty(len(rows), EXTRA.value), padded.new_empty(len(rows), 3)
    _row_columns_kernel[(1,)](
        padded, high, low, extra, bounds, prepared.largest, prepared.kappa,
        BLOCK_N=len(rows), BLOCK_D=config.block_d, EXTRA=EXTRA.value,
    )  # fmt: skip
    code_low, code_high = prepared.split[:size].double().unbind(1)
    total = torch.zeros(len(rows), size, dtype=torch.float64, device=rows.device)
    for a, b in ((high, code_low), (low, code_high), (high, code_high), (extra, prepared.extra[:size].double())):
        total = truncating_dot(a.double(), b, total, width)

    shift = prepared.shift[0].double()
    codes = codebook.double() - shift
    exact = 0.5 * codes.square().sum(1) - (rows.double() - shift) @ codes.T
    code = torch.arange(size, device=rows.device)
    group = code // 32 * 4 + code % 8 // 2
    code_norm, residual, bias_bound = prepared.bounds[group, :3].double().T
    norm, factor, lift = bounds.double()[:, :, None].unbind(1)
    taken = -extra[:, 3:6].double() @ prepared.extra[:size, 3:6].double().T
    error = factor * code_norm + norm * residual + bias_bound
    return Scored(total - extra[:, 6:7].double(), exact, taken, error, lift)


def drawn(kind: str, dimension: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    x, c = torch.randn(32, dimension, generator=g), torch.randn(40, dimension, generator=g)
    x, c = hard_product(kind, x, c)
    if kind == "offset":
        x, c = x + 1000, c + 1000
    elif kind == "late stage":
        x, c = 1e-6 * x, 1e-6 * c
    return x.to(device), c.to(device)


@pytest.mark.parametrize("width", [4, 16])
@pytest.mark.parametrize("dimension", [8, 64, 128])
@pytest.mark.parametrize("kind", ["random", "aligned", "one sign", "cancelling", "offset", "late stage"])
def test_scores_are_lower_bounds_and_reach_is_an_upper_one(kind, dimension, width, device):
    found, exact, taken, error, lift = scored(*drawn(kind, dimension, device), width)
    off = (found + taken - exact).abs()
    assert (off <= taken + 2.0**-18 * lift).all()
    assert (exact <= found + 2.1 * error + 2.0**-18 * lift).all()


@pytest.mark.parametrize("dimension", [8, 64])
def test_a_bound_of_a_tenth_would_be_broken(dimension, device):
    found, exact, taken, _, lift = scored(*drawn("random", dimension, device), 16)
    assert ((found + taken - exact).abs() > 0.1 * taken + 2.0**-18 * lift).any()


def groups_in_reach(x: torch.Tensor, codes: torch.Tensor, lift: torch.Tensor) -> torch.Tensor:
    """How many groups of 8 codes each row has to look into, from exact scores and the bounds that the search takes off.

    x [N, D] and codes [K, D] centred, float64; lift [N] as the search adds to its scores."""
    kappa = accumulation_bound(residual_config(x.shape[1], "sm_80"))
    _, low, rest = parts(x)
    _, _, code_rest = parts(codes)
    norm, code_norm = x.norm(dim=1), codes.norm(dim=1)
    factor = rest.norm(dim=1) + low.norm(dim=1) * (2.04 / 256) + kappa * norm
    bias = 0.5 * code_norm.square()
    error = code_norm * factor[:, None] + norm[:, None] * code_rest.norm(dim=1) + kappa * bias
    lower = (bias - x @ codes.T - 1.04 * error).reshape(len(x), -1, GROUP.value).amin(2)
    lowest, winner = lower.min(1)
    error = error.reshape(len(x), -1, GROUP.value).amax(2).gather(1, winner[:, None])[:, 0]
    reach = lowest + 2.1 * error + 2.0**-17 * lift
    return (lower <= reach[:, None]).sum(1)


def parts(value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    high = value.float().bfloat16().double()
    low = (value - high).float().bfloat16().double()
    return high, low, value - high - low


def test_tiny_codes_leave_few_groups_in_reach():
    torch.manual_seed(0)
    size, dimension = 8192, 128
    x = torch.randn(256, dimension).double()
    codes = ((2 * torch.rand(size, dimension) - 1) / size).double()
    norm, largest = x.norm(dim=1), codes.norm(dim=1).max()
    groups = groups_in_reach(x, codes, torch.minimum(0.5 * norm.square(), norm * largest))
    assert (groups > 4).double().mean() < 0.02
    # What this test is there for: with the other lift alone it takes several times as many.
    assert groups_in_reach(x, codes, 0.5 * norm.square()).double().mean() > 5 * groups.double().mean()
