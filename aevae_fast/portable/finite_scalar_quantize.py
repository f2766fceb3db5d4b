"""Finite scalar quantization in blocks of rows, and its gradient.

Each operation runs over a block as one row of numbers, with the constants of the dimensions repeated as often: PyTorch
takes several times as long where a handful of them is broadcast. Specification:
`aevae_fast.reference.finite_scalar_quantize`; the numbers of a variant: `functional/_levels.py`.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ._product import full_precision
from ._rows import not_finite, row_blocks

_ELEMENTS = 1 << 17  # of a block: 512 KB
_EXACT = 1 << 24  # below it float32 holds every index, and every sum on the way to it


def finite_scalar_quantize(
    x: Tensor,
    levels: Sequence[int],
    half: Sequence[float],
    shift: Sequence[float],
    gain: float,
    hard: bool,
    symmetric: bool,
    mask: Tensor | None,
    noise: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """x [B, S, D], mask [B, S] bool, noise [B, S, D] float32, NaN where it has no say → quantized like x, indices
    [B, S] int64."""
    quantized = torch.empty_like(x)
    indices = torch.empty(x.shape[:2], dtype=torch.int64, device=x.device)
    repeat = _Repeated(x)
    halves, shifts = repeat(half), repeat(shift)
    centre = repeat([(count - 1) / 2 if symmetric else -0.5 if count % 2 == 0 else 0.0 for count in levels])
    width = repeat([count - 1 if symmetric else count // 2 for count in levels])
    origin = repeat([count - 1 for count in levels]) if symmetric else None
    lowest = [0 if symmetric else count // 2 for count in levels]
    for block in repeat.blocks:
        value = repeat.flat(x[block])
        many = len(value)
        whole = bool(value.sum().isfinite())  # then so is each; one pass, where to ask each row takes three
        lost = None if whole else not_finite(value.view(-1, len(levels)))
        y = _bounded(value.add_(shifts[:many]), gain, hard).mul_(halves[:many]).add_(centre[:many])
        level = (y + 0.5).floor_() if symmetric else y.round()
        index = _index(level.view(-1, len(levels)), levels, lowest)
        if noise is not None:
            drawn = repeat.flat(noise[block])
            level = torch.where(drawn.isnan(), level, y + drawn)
        code = (level if origin is None else level.mul_(2).sub_(origin[:many])).div_(width[:many]).view(x[block].shape)
        index = index.view(code.shape[:2])
        if lost is not None:
            code.masked_fill_(lost.view(*code.shape[:2], 1), torch.nan)
            index.masked_fill_(lost.view(code.shape[:2]), -1)
        if mask is not None:
            code.masked_fill_(~mask[block][..., None], 0.0)
            index.masked_fill_(~mask[block], -1)
        quantized[block], indices[block] = code, index
    return quantized, indices


def _index(level: Tensor, levels: Sequence[int], lowest: Sequence[int]) -> Tensor:
    """level [n, D] float32, whole numbers from -lowest → [n] int64, the first dimension as the lowest digit."""
    places = [math.prod(levels[:d]) for d in range(len(levels))]
    if math.prod(levels) < _EXACT:
        with full_precision(level.device):
            index = torch.mv(level, level.new_tensor(places))
        return index.add_(sum(low * place for low, place in zip(lowest, places, strict=True))).nan_to_num_().long()
    digits = (level + level.new_tensor(lowest)).nan_to_num_().long()
    index = digits[:, 0].clone()
    for d in range(1, len(levels)):
        index.add_(digits[:, d], alpha=places[d])
    return index


def finite_scalar_quantize_backward(
    grad: Tensor,
    x: Tensor,
    levels: Sequence[int],
    half: Sequence[float],
    shift: Sequence[float],
    gain: float,
    hard: bool,
    symmetric: bool,
    mask: Tensor | None,
) -> Tensor:
    """grad times the slope of the bounded x; 0 for masked rows; like x."""
    grad_x = torch.empty_like(x)
    repeat = _Repeated(x)
    shifts = repeat(shift)
    widths = [(count - 1) / 2 if symmetric else count // 2 for count in levels]
    slope = repeat([h * gain / w for h, w in zip(half, widths, strict=True)])
    for block in repeat.blocks:
        value = repeat.flat(x[block])
        many = len(value)
        value.add_(shifts[:many])
        if hard:
            found = torch.where((value >= -1) & (value <= 1), slope[:many], 0.0)
        else:  # 1 - tanh² = 4e/(1 + e)² with e = exp(-2|·|), which keeps its digits where tanh is near 1
            small = value.abs_().mul_(-2 * gain).exp_()
            found = (small * 4).div_(small.add_(1).square_()).mul_(slope[:many])
        found = found.view(x[block].shape).mul_(grad[block])
        grad_x[block] = found if mask is None else found.masked_fill_(~mask[block][..., None], 0.0)
    return grad_x


def _bounded(x: Tensor, gain: float, hard: bool) -> Tensor:
    if hard:
        return x.clamp_(-1, 1)
    return (x if gain == 1 else x.mul_(gain)).tanh_()


class _Repeated:
    """Constants of the dimensions, and blocks of x [B, S, D], as rows of numbers."""

    def __init__(self, x: Tensor) -> None:
        self.x, most = x, max(1, _ELEMENTS // max(1, x.shape[2]))
        self.blocks = list(row_blocks(x, most))
        self.rows = min(most, x.shape[0] * x.shape[1])  # of the largest block

    def __call__(self, constants: Sequence[float]) -> Tensor:
        """At least as many as a block has; doubled again and again, which copies whole stretches at a time."""
        repeated = torch.tensor(constants, dtype=torch.float32, device=self.x.device)
        while len(repeated) < self.rows * len(constants):
            repeated = torch.cat([repeated, repeated])
        return repeated

    @staticmethod
    def flat(part: Tensor) -> Tensor:
        """A copy of a block, float32."""
        return part.to(torch.float32, copy=True, memory_format=torch.contiguous_format).view(-1)
