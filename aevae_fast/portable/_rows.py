"""Walk the rows of a `[B, S, D]` view in cache-sized blocks, whatever its strides."""

from collections.abc import Iterator

import torch
from torch import Tensor

Block = tuple[slice, slice]  # of the first two axes


def row_blocks(x: Tensor, rows: int) -> Iterator[Block]:
    """Index pairs that cut `x [B, S, ...]` into blocks of at most `rows` rows: parts of one batch entry where S is
    large, several whole entries where S is small."""
    batch, inner = x.shape[:2]
    if inner >= rows:
        for b in range(batch):
            for s in range(0, inner, rows):
                yield slice(b, b + 1), slice(s, min(s + rows, inner))
    elif inner > 0:
        step = rows // inner
        for b in range(0, batch, step):
            yield slice(b, min(b + step, batch)), slice(0, inner)


def wide_dtype(x: Tensor) -> torch.dtype:
    """float64, or the widest float that the device has."""
    return torch.float32 if x.device.type == "mps" else torch.float64


def not_finite(x: Tensor) -> Tensor:
    """Which rows of `x [..., D]` hold a NaN or an infinity, without a tensor of bools as large as x: 0·x is 0 for what
    is finite and NaN for what is not, and a sum keeps a NaN."""
    return torch.isnan((x * 0).sum(-1, dtype=torch.float32))
