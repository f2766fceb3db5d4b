"""Lookup-free quantization with its commitment and per-sample entropy in blocks of rows, and the gradient.

Specification: `aevae_fast.reference.lookup_free_quantize`.
"""

import torch
from torch import Tensor

from ._rows import not_finite, row_blocks
from ._threads import on_threads, threads_for

_ELEMENTS = 1 << 15  # of a block


def lookup_free_quantize(
    x: Tensor, mask: Tensor | None, scale: float, slope: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x [B, S, D], mask [B, S] bool → quantized like x, indices [B, S] int64, and over the rows that count the summed
    squared error and the summed entropy of the bits, 0-d float32. slope 0: no entropy is asked for."""
    quantized = torch.empty_like(x)
    indices = torch.empty(x.shape[:2], dtype=torch.int64, device=x.device)
    blocks = list(enumerate(_blocks(x)))
    sums = torch.zeros(2, len(blocks), device=x.device)

    def quantize(item: tuple[int, tuple[slice, slice]]) -> None:
        number, block = item
        value = x[block].float()
        dropped = None if mask is None else ~mask[block]
        lost = not_finite(value)
        if dropped is not None:
            value = value.masked_fill(dropped[..., None], 0.0)
        above = value > 0
        index = above[..., 0].long()
        for d in range(1, x.shape[2]):
            index.mul_(2).add_(above[..., d])
        code = above.to(value.dtype).mul_(2 * scale).sub_(scale)
        difference = value - code
        if dropped is not None:
            difference.masked_fill_(dropped[..., None], 0.0)
        sums[0, number] = difference.square_().sum()
        if slope:
            entropy = _entropies(value, slope)
            if dropped is not None:
                entropy.masked_fill_(dropped[..., None], 0.0)
            sums[1, number] = entropy.sum()
        code.masked_fill_(lost[..., None], torch.nan)
        index.masked_fill_(lost, -1)
        if dropped is not None:
            code.masked_fill_(dropped[..., None], 0.0)
            index.masked_fill_(dropped, -1)
        quantized[block], indices[block] = code, index

    on_threads(lambda: quantize, blocks, threads_for(x))
    error, entropy = sums.sum(1).unbind()
    return quantized, indices, error.clone(), entropy.clone()


def lookup_free_quantize_backward(
    grad: Tensor,
    x: Tensor,
    mask: Tensor | None,
    scale: float,
    slope: float,
    error_scale: Tensor,
    entropy_scale: Tensor,
) -> Tensor:
    """grad + error_scale·(x - code) + entropy_scale·d(entropy)/dx for rows that count, 0 for masked ones; like x."""
    grad_x = torch.empty_like(x)

    def differentiate(block: tuple[slice, slice]) -> None:
        value = x[block].float()
        code = (value > 0).to(value.dtype).mul_(2 * scale).sub_(scale)
        found = (value - code).mul_(error_scale).add_(grad[block])
        if slope:
            logit = value * slope
            e = logit.abs().neg_().exp_()
            weight = e / (1 + e).square_()
            found.sub_(logit.mul_(weight).mul_(entropy_scale * slope))
        grad_x[block] = found if mask is None else found.masked_fill_(~mask[block][..., None], 0.0)

    on_threads(lambda: differentiate, _blocks(x), threads_for(x))
    return grad_x


def _entropies(x: Tensor, slope: float) -> Tensor:
    """Of a bit that is 1 with probability σ(a): ln(1 + e) + a·e/(1 + e) with e = exp(-|a|), which lets it be small."""
    a = (x * slope).abs_()
    e = torch.exp(-a)
    return torch.log1p(e).add_(a.mul_(e).div_(e + 1))


def _blocks(x: Tensor) -> list[tuple[slice, slice]]:
    return list(row_blocks(x, max(1, _ELEMENTS // max(1, x.shape[2]))))
