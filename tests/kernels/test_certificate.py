"""The error bound that certifies a search, against tensor cores emulated at their worst, without any kernel.

Triton's interpreter multiplies and adds in float32 rounded to nearest, so the kernels' own tests cannot tell whether
exactness rests on that. Here each step of `width` products is aligned to its largest addend and cut to 24 bits, the
accumulator among them, as the coarsest hardware known does.
"""

import pytest
import torch


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
@pytest.mark.parametrize("dimension", [8, 64, 128])
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
    kappa = (1.5 * max(16, dimension) + 32 + 1) * 2.0**-23
    norm, code_norm = x.norm(dim=1)[:, None], c.norm(dim=1)[None]
    factor = x_rest.norm(dim=1)[:, None] + x_low.norm(dim=1)[:, None] * (2.04 / 256) + kappa * norm
    bound = code_norm * factor + norm * c_rest.norm(dim=1)[None]
    assert ((total - x @ c.T).abs() <= bound).all()
