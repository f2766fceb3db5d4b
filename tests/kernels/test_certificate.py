"""The error bound that certifies a search, against tensor cores emulated at their worst, without any kernel.

Triton's interpreter multiplies and adds in float32 rounded to nearest, so the kernels' own tests cannot tell whether
exactness rests on that. Here each step of `width` products is aligned to its largest addend and cut to 24 bits, the
accumulator among them, as the coarsest hardware known does.
"""

import pytest
import torch

from aevae_fast.kernels.configuration import search_config
from aevae_fast.kernels.prepared_codebook import accumulation_bound


def cut(value: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
    return torch.trunc(value / unit) * unit


def truncating_dot(a: torch.Tensor, b: torch.Tensor, total: torch.Tensor, width: int) -> torch.Tensor:
    """total [N, K] + a [N, D] · b [K, D]ᵀ, in float64 arithmetic cut to fp32 as above."""
    for start in range(0, a.shape[1], width):
        products = a[:, None, start : start + width] * b[None, :, start : start + width]
        addends = torch.cat([products, total[..., None]], -1)
        largest = addends.abs().amax(-1, keepdim=True).clamp_min(2.0**-120)
        unit = 2.0 ** (torch.floor(torch.log2(largest)) - 23)
        total = cut(addends, unit).sum(-1)
        unit = 2.0 ** (torch.floor(torch.log2(total.abs().clamp_min(2.0**-120))) - 23)
        total = cut(total, unit)
    return total


def split(value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    high = value.float().bfloat16().double()
    low = (value - high).float().bfloat16().double()
    return high, low, value - high - low


@pytest.mark.parametrize("width", [4, 8, 16])
@pytest.mark.parametrize("dimension", [8, 64, 128, 256])
@pytest.mark.parametrize("kind", ["random", "aligned", "one sign", "cancelling"])
def test_score_stays_within_its_bound(kind, dimension, width):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(24, dimension, generator=g)
    c = torch.randn(40, dimension, generator=g)
    if kind == "aligned":
        c = x[:1] * (1 + 1e-3 * c)
    elif kind == "one sign":
        x, c = x.abs() + 1, c.abs() + 1
    elif kind == "cancelling":
        x[:, ::2] = x[:, 1::2] = x[:, ::2].abs() + 100
        c[:, 1::2] = -c[:, ::2]
    x, c = x.double(), c.double()
    x_high, x_low, x_rest = split(x)
    c_high, c_low, c_rest = split(c)
    total = torch.zeros(24, 40, dtype=torch.float64)
    for a, b in ((x_high, c_low), (x_low, c_high), (x_high, c_high)):
        total = truncating_dot(a, b, total, width)
    config = search_config(dimension, "sm_90")
    kappa = accumulation_bound(config)
    norm, code_norm = x.norm(dim=1)[:, None], c.norm(dim=1)[None]
    factor = x_rest.norm(dim=1)[:, None] + x_low.norm(dim=1)[:, None] * (2.04 / 256) + kappa * norm
    bound = code_norm * factor + norm * c_rest.norm(dim=1)[None]
    assert ((total - x @ c.T).abs() <= bound).all()


def groups_in_reach(x: torch.Tensor, codes: torch.Tensor, lift: torch.Tensor) -> torch.Tensor:
    """How many groups of 8 codes each row has to look into, from exact scores and the bounds that the search takes off.

    x [N, D] and codes [K, D] centred, float64; lift [N] as the search adds to its scores."""
    kappa = accumulation_bound(search_config(x.shape[1], "sm_90"))
    _, low, rest = split(x)
    _, _, code_rest = split(codes)
    norm, code_norm = x.norm(dim=1), codes.norm(dim=1)
    factor = rest.norm(dim=1) + low.norm(dim=1) * (2.04 / 256) + kappa * norm
    bias = 0.5 * code_norm.square()
    error = code_norm * factor[:, None] + norm[:, None] * code_rest.norm(dim=1) + kappa * bias
    lower = (bias - x @ codes.T - 1.04 * error).reshape(len(x), -1, 8).amin(2)
    lowest, winner = lower.min(1)
    error = error.reshape(len(x), -1, 8).amax(2).gather(1, winner[:, None])[:, 0]
    reach = lowest + 2.1 * error + 2.0**-17 * lift
    return (lower <= reach[:, None]).sum(1)


def test_tiny_codes_leave_few_groups_in_reach():
    torch.manual_seed(0)
    size, dimension = 8192, 256
    x = torch.randn(256, dimension).double()
    codes = ((2 * torch.rand(size, dimension) - 1) / size).double()
    norm, largest = x.norm(dim=1), codes.norm(dim=1).max()
    groups = groups_in_reach(x, codes, torch.minimum(0.5 * norm.square(), norm * largest))
    assert (groups > 4).double().mean() < 0.02
    # What this test is there for: with the other lift alone it takes 20 groups and more.
    assert groups_in_reach(x, codes, 0.5 * norm.square()).double().mean() > 5 * groups.double().mean()
