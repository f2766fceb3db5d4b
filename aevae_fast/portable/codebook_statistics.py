"""Per-code count and sum by scattered addition: no one-hot matrix. Deterministic on a CPU.

Specification: `aevae_fast.reference.codebook_statistics`.
"""

import torch
from torch import Tensor

from ._rows import row_blocks, wide_dtype

_ROWS = 4096


def codebook_statistics(
    x: Tensor, indices: Tensor, codebook_size: int, center: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """x [B, S, D], indices [B, S] int64 with -1 for rows to skip → counts [K] and sums [K, D], float32; of the
    differences x - center[index] where center [K, D] is given."""
    slots = torch.where(indices < 0, codebook_size, indices)  # skipped rows land in one slot more, cut off below
    # float64: bfloat16 rows sit on a coarse grid, and rounding each partial sum to float32 adds up the same way.
    sums = torch.zeros(codebook_size + 1, x.shape[2], dtype=wide_dtype(x), device=x.device)
    for block in row_blocks(x, _ROWS):
        slot, rows = slots[block].flatten(), x[block].flatten(0, 1).to(sums.dtype)
        if center is not None:
            rows = rows - center[slot.clamp(max=codebook_size - 1)]
        sums.index_add_(0, slot, rows)
    counts = torch.zeros(codebook_size + 1, device=x.device)
    counts.index_add_(0, slots.flatten(), torch.ones((), device=x.device).expand(slots.numel()))
    return counts[:-1].clone(), sums[:-1].float()
