"""The encoder's output of a Gaussian with a full covariance: mean, logarithms of L's diagonal, entries below it."""

import torch
from torch import Tensor


def split(x: Tensor, cholesky: Tensor | None, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean `[B, ..., D]`, logarithms of the diagonal, and the entries below it `[B, ..., D·(D - 1)/2]`.

    Raises:
        ValueError, TypeError: x or cholesky does not fit.
    """
    _check(x, cholesky, dim)
    x = x.movedim(dim, -1)
    if cholesky is None:
        size = dimension(x.shape[-1])
        mean, log_diagonal, below = x.split([size, size, size * (size - 1) // 2], -1)
        return mean, log_diagonal, below
    log_diagonal, below = cholesky.movedim(dim, -1).tensor_split([x.shape[-1]], -1)
    return x, log_diagonal, below


def strictly_lower(below: Tensor, size: int) -> Tensor:
    """`[..., D·(D - 1)/2]` → `[..., D, D]`, zero on and above the diagonal."""
    row, column = torch.tril_indices(size, size, -1, device=below.device)
    lower = below.new_zeros(*below.shape[:-1], size * size)
    return lower.index_copy(-1, row * size + column, below).unflatten(-1, (size, size))


def dimension(size: int) -> int:
    """The largest D with D + D·(D + 1)/2 <= size; counted, since tracing knows sizes that are symbols, but no roots."""
    found = 0
    while (found + 1) * (found + 4) <= 2 * size:
        found += 1
    return found


def _check(x: Tensor, cholesky: Tensor | None, dim: int) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a torch.Tensor; got {type(x).__name__}")
    if not -x.ndim <= dim < x.ndim or dim % x.ndim == 0:
        raise ValueError(f"x must have an axis {dim} beside the batch, axis 0; got shape {tuple(x.shape)}")
    size = x.shape[dim]
    if cholesky is None:
        if dimension(size) * (dimension(size) + 3) != 2 * size:
            raise ValueError(
                f"x must hold D + D·(D + 1)/2 numbers along dim {dim} (2, 5, 9, 14, ...); got shape {tuple(x.shape)}"
            )
        return
    if not isinstance(cholesky, Tensor):
        raise TypeError(f"cholesky must be a torch.Tensor; got {type(cholesky).__name__}")
    axis = dim % x.ndim
    shape = (*x.shape[:axis], size * (size + 1) // 2, *x.shape[axis + 1 :])
    if tuple(cholesky.shape) != shape:
        raise ValueError(f"cholesky must have shape {shape}, D·(D + 1)/2 for D = {size}; got {tuple(cholesky.shape)}")
    if cholesky.dtype != x.dtype:
        raise TypeError(f"cholesky must have x's dtype, {x.dtype}; got {cholesky.dtype}")
    if cholesky.device != x.device:
        raise ValueError(f"cholesky must be on x's device, {x.device}; got {cholesky.device}")
