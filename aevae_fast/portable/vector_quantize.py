"""Search, gather, straight-through value and squared error in blocks of rows; and the gradient in one pass.

Nothing of size [N, K] or [N, D] in float32 is kept: a block's rows meet their codes while both are in cache.
Specification: `aevae_fast.reference.vector_quantize`.
"""

import torch
from torch import Tensor

from ._rows import row_blocks
from ._threads import on_threads, threads_for
from .nearest_code import nearest_code

_ROWS = 2048


def vector_quantize(x: Tensor, codebook: Tensor, mask: Tensor | None, metric: str) -> tuple[Tensor, Tensor, Tensor]:
    """x [B, S, D], codebook [K, D] float32, mask [B, S] bool or None → quantized like x, indices [B, S] int64 and the
    summed squared error over kept rows, 0-d float32. A masked row gives index -1 and zeros, one that is not finite
    index -1 and NaN."""
    indices = nearest_code(x, codebook, metric)
    quantized = torch.empty_like(x)
    blocks = list(enumerate(row_blocks(x, _ROWS)))
    errors = torch.zeros(len(blocks), device=x.device)

    def gather(item: tuple[int, tuple[slice, slice]]) -> None:
        number, block = item
        index = indices[block]
        code = codebook[index.clamp(min=0)].masked_fill_((index < 0)[..., None], torch.nan)
        difference = x[block] - code
        if mask is not None:
            dropped = ~mask[block][..., None]
            code.masked_fill_(dropped, 0.0)
            difference.masked_fill_(dropped, 0.0)
        quantized[block] = code
        errors[number] = difference.square_().sum()  # vecdot, as any product, rounds to bfloat16 under autocast

    on_threads(lambda: gather, blocks, threads_for(x))
    if mask is not None:
        indices.masked_fill_(~mask, -1)
    return quantized, indices, errors.sum()


def vector_quantize_backward(
    grad: Tensor, x: Tensor, codebook: Tensor, indices: Tensor, mask: Tensor | None, scale: Tensor
) -> Tensor:
    """grad + scale·(x - code) for kept rows, 0 for masked ones, NaN where x is not finite. grad and x [B, S, D], scale
    0-d float32 → like x."""
    grad_x = torch.empty_like(x)

    def differentiate(block: tuple[slice, slice]) -> None:
        total = x[block] - codebook[indices[block].clamp(min=0)]
        total = total.mul_(scale).add_(grad[block])
        grad_x[block] = total if mask is None else total.masked_fill_(~mask[block][..., None], 0.0)

    on_threads(lambda: differentiate, list(row_blocks(x, _ROWS)), threads_for(x))
    return grad_x
