"""The variants of finite scalar quantization, as the numbers that an implementation computes with.

    y = bound(gain·(x + shift))·half + centre      digit = round(y) - low      code = (scale·round(y) - origin)/width

with bound the hyperbolic tangent or a clamp to [-1, 1], all but gain a number for each dimension.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

VARIANTS = ("tanh", "tan", "ifsq", "clamp", "symmetric", "symmetric_clamp")
_LARGEST = 2**20  # levels of a dimension: float32 holds each of them, and some digits of what is rounded to it


class Bounds(NamedTuple):
    """The arguments of the operations, in their order."""

    levels: list[int]
    half: list[float]
    shift: list[float]
    gain: float
    hard: bool
    symmetric: bool


def bounds(levels: list[int], variant: str) -> Bounds:
    hard, symmetric = variant.endswith("clamp"), variant.startswith("symmetric")
    stretch = {"tan": -1e-3, "ifsq": 0.0, "symmetric": 0.0, "symmetric_clamp": 0.0}.get(variant, 1e-3)
    gain = 0.8 if variant == "ifsq" else 1.0  # 2σ(1.6·x) - 1 = tanh(0.8·x)
    half = [(count - 1) * (1 + stretch) / 2 for count in levels]
    inverse = {"tan": math.tan, "clamp": float}.get(variant, lambda y: math.atanh(y) / gain)
    shift = [0.0 if symmetric or count % 2 else inverse(0.5 / h) for count, h in zip(levels, half, strict=True)]
    return Bounds(levels, half, shift, gain, hard, symmetric)


def check_levels(levels: object, variant: str) -> list[int]:
    """levels as a list, where they may be quantized to."""
    if not isinstance(levels, list | tuple) or not all(isinstance(n, int) for n in levels):
        raise TypeError(f"levels must be a sequence of ints, one for each dimension; got {levels!r}")
    least = 2 if variant.startswith("symmetric") else 3
    if not levels or min(levels) < least or max(levels) > _LARGEST:
        hint = "; two levels are for the symmetric variants" if levels and min(levels) == 2 else ""
        raise ValueError(f"levels must be numbers from {least} to {_LARGEST}, at least one; got {list(levels)}{hint}")
    if math.prod(levels) >= 2**63:
        raise ValueError(f"levels must have a product below 2^63, for indices of 64 bits; got {list(levels)}")
    return list(levels)


# What follows takes the levels as a tensor that is on the device already: to copy them there would wait for it.


def codes_of(indices: Tensor, levels: Tensor, variant: str) -> Tensor:
    """indices [...] int64, none below 0, levels [D] int64 → codes [..., D] float32."""
    digits = indices[..., None] // places(levels) % levels
    symmetric = variant.startswith("symmetric")
    numerator, width = (2 * digits - (levels - 1), levels - 1) if symmetric else (digits - levels // 2, levels // 2)
    return numerator.float() / width


def indices_of(codes: Tensor, levels: Tensor, variant: str) -> Tensor:
    """codes [..., D] → indices [...] int64, of the nearest codes."""
    symmetric = variant.startswith("symmetric")
    digits = (codes.float() + 1) / 2 * (levels - 1) if symmetric else codes.float() * (levels // 2) + levels // 2
    return (digits.round().long() * places(levels)).sum(-1)


def bounded(x: Tensor, levels: Tensor) -> Tensor:
    """x [..., D] in units of the levels as the variant "tanh" has it, not rounded; differentiable."""
    half = (levels - 1).to(x.dtype) * (1.001 / 2)
    offset = (levels % 2 == 0).to(x.dtype) / 2
    return (x + torch.atanh(offset / half)).tanh() * half - offset


def places(levels: Tensor) -> Tensor:
    """What a digit of each dimension counts; the first is the lowest."""
    return torch.cat([torch.ones_like(levels[:1]), levels[:-1].cumprod(0)])
