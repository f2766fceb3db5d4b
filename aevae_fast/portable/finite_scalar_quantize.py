"""Finite scalar quantization in blocks of rows that stay in cache, and its gradient.

Specification: `aevae_fast.reference.finite_scalar_quantize`; the numbers of a variant: `functional/_levels.py`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ._rows import not_finite, row_blocks
from ._threads import on_threads, threads_for

_ELEMENTS = 1 << 15  # of a block


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
    count, halves, shifts = _constants(x, levels, half, shift)
    lowest, width = count // 2, count // 2
    centre = torch.where(count % 2 == 0, -0.5, 0.0)
    if symmetric:
        lowest, width, centre = torch.zeros_like(count), count - 1, (count - 1) / 2
    shifted = any(shift)

    def quantize(block: tuple[slice, slice]) -> None:
        value = x[block].float()
        lost = not_finite(value)
        y = _bounded(value + shifts if shifted else value, gain, hard).mul_(halves).add_(centre)
        level = (y + 0.5).floor_() if symmetric else y.round()
        digits = (level + lowest).nan_to_num_().long()
        index = digits[..., 0].clone()
        place = levels[0]
        for d in range(1, len(levels)):
            index.add_(digits[..., d], alpha=place)
            place *= levels[d]
        if noise is not None:
            drawn = noise[block]
            level = torch.where(drawn.isnan(), level, y + drawn)
        code = (level.mul_(2).sub_(count - 1) if symmetric else level).div_(width)
        code.masked_fill_(lost[..., None], torch.nan)
        index.masked_fill_(lost, -1)
        if mask is not None:
            code.masked_fill_(~mask[block][..., None], 0.0)
            index.masked_fill_(~mask[block], -1)
        quantized[block], indices[block] = code, index

    on_threads(lambda: quantize, _blocks(x), threads_for(x))
    return quantized, indices


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
    count, halves, shifts = _constants(x, levels, half, shift)
    slope = halves * gain * (2 / (count - 1) if symmetric else 1 / (count // 2))

    def differentiate(block: tuple[slice, slice]) -> None:
        value = x[block].float().add(shifts)
        if hard:
            found = torch.where((value >= -1) & (value <= 1), slope, 0.0)
        else:  # 1 - tanh² = 4e/(1 + e)² with e = exp(-2|·|), which keeps its digits where tanh is near 1
            small = value.mul_(gain).abs_().mul_(-2).exp_()
            found = small.mul(4).div_(small.add_(1).square_()).mul_(slope)
        found = found * grad[block]
        grad_x[block] = found if mask is None else found.masked_fill_(~mask[block][..., None], 0.0)

    on_threads(lambda: differentiate, _blocks(x), threads_for(x))
    return grad_x


def _bounded(x: Tensor, gain: float, hard: bool) -> Tensor:
    if hard:
        return x.clamp(-1, 1)
    return torch.tanh(x if gain == 1 else x * gain)


def _blocks(x: Tensor) -> list[tuple[slice, slice]]:
    return list(row_blocks(x, max(1, _ELEMENTS // max(1, x.shape[2]))))


def _constants(
    x: Tensor, levels: Sequence[int], half: Sequence[float], shift: Sequence[float]
) -> tuple[Tensor, Tensor, Tensor]:
    halves, shifts = (torch.tensor(values, dtype=torch.float32, device=x.device) for values in (half, shift))
    return torch.tensor(levels, device=x.device), halves, shifts
