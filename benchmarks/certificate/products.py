"""The sweep's product of columns: as float32 has it, and as the coarsest tensor cores known may have it."""

from collections.abc import Callable

import torch
from torch import Tensor

Product = Callable[[Tensor, Tensor], Tensor]


def float32_product(codes: Tensor, rows: Tensor) -> Tensor:
    """codes [K, W], rows [n, W] → [K, n]. Products of two numbers of 11 bits are exact: only the sum is rounded."""
    return codes @ rows.T


def truncating_product(codes: Tensor, rows: Tensor, width: int = 16) -> Tensor:
    """The same where each step of `width` products, the sum so far among them, is aligned to its largest addend and
    cut to 24 bits, and so is the step's result."""
    a, b = codes.double(), rows.double()
    total = a.new_zeros(len(a), len(b))
    for start in range(0, a.shape[1], width):
        products = a[:, None, start : start + width] * b[None, :, start : start + width]
        addends = torch.cat([products, total[..., None]], -1)
        total = _cut(addends, addends.abs().amax(-1, keepdim=True)).sum(-1)
        total = _cut(total, total.abs())
    return total.float()


def _cut(value: Tensor, largest: Tensor) -> Tensor:
    unit = torch.ldexp(torch.ones_like(largest), torch.frexp(largest.clamp_min(2.0**-120)).exponent - 24)
    return torch.trunc(value / unit) * unit
