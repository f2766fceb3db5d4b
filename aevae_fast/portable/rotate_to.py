"""The gradient of the rotation trick in blocks of rows. Specification: `aevae_fast.reference.rotate_to`."""

import torch
from torch import Tensor

from ._rows import row_blocks
from ._threads import on_threads, threads_for

_ROWS = 1024
_TINY = torch.finfo(torch.float32).tiny


def rotate_to_backward(grad: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """λ·(g - 2w(wᵀg) + 2ê(q̂ᵀg)), g where source is 0; all [B, S, D] → like source."""
    grad_source = torch.empty_like(source)

    def differentiate(block: tuple[slice, slice]) -> None:
        g, e, q = (tensor[block].float() for tensor in (grad, source, target))
        size, length = (torch.linalg.vector_norm(v, dim=-1, keepdim=True) for v in (e, q))
        absent = size == 0
        size = size.masked_fill(absent, 1.0)
        e, q = e / size, q / length.where(length > 0, 1.0)
        w = e + q
        square = w.square().sum(-1, keepdim=True).clamp(min=_TINY)
        rotated = g - w * (2 * (w * g).sum(-1, keepdim=True) / square) + e * (2 * (q * g).sum(-1, keepdim=True))
        grad_source[block] = torch.where(absent, g, length / size * rotated)

    on_threads(lambda: differentiate, list(row_blocks(source, _ROWS)), threads_for(source))
    return grad_source
