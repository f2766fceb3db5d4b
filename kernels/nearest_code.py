"""Nearest code of each row: indices[n] = argmin_k dist(x[n], codebook[k]), exact, ties to the lowest index.

Launches: the codebook made ready and the sweep (search.py), where D is 33 to 64 another for what stays open; two for
what D > 64 and many codes leave wide, in up to eight waves (narrow.py); what is open still is compared exactly
(settle.py). Reference: aevae_fast/reference.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .configuration import SearchConfig
from .rows import after, row_pointers
from .search import Swept, sweep
from .settle import settled


@triton.jit(do_not_specialize=["tiles", "K", "splits", "group_bits"])
def _settle_kernel(
    x_ptr, entry_ptr, lowest_ptr, reach_ptr, codes_ptr, indices_ptr,
    N, S, K, D, splits, tiles, group_bits, stride_xb, stride_xs, stride_xd,
    EUCLIDEAN: tl.constexpr, SPLITS: tl.constexpr, BLOCK_K: tl.constexpr, LANES: tl.constexpr,
    GROUP_STEPS: tl.constexpr, BLOCK_D: tl.constexpr, ROWS: tl.constexpr, CODES: tl.constexpr,
):  # fmt: skip
    # entry :: [splits, B·S] int64, which may be indices :: [B, S] int64
    n = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    live = n < N
    rows = row_pointers(x_ptr, n, N, S, stride_xb, stride_xs)
    index = settled(
        n, live, entry_ptr, lowest_ptr, reach_ptr, rows, codes_ptr, N, K, D, stride_xd, splits, tiles, group_bits,
        EUCLIDEAN, SPLITS, BLOCK_K, LANES, GROUP_STEPS, BLOCK_D, CODES,
    )  # fmt: skip
    n = after(index >= -1, tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS))
    tl.store(indices_ptr + n, index.to(tl.int64), mask=n < N)


def nearest_code(
    x: torch.Tensor, codebook: torch.Tensor, metric: str = "euclidean", config: SearchConfig | None = None
) -> torch.Tensor:
    """Indices [B, S] int64 of the nearest code to each row of x [B, S, D]; -1 for rows with a non-finite entry."""
    indices = torch.empty(x.shape[:2], dtype=torch.int64, device=x.device)
    if indices.numel() == 0:
        return indices
    settle(x, sweep(x, codebook, metric, indices, config), len(codebook), indices)
    return indices


def settle(x: torch.Tensor, swept: Swept, size: int, indices: torch.Tensor) -> None:
    """Write to `indices` [B, S] int64 the nearest of so many codes to each row of x [B, S, D]."""
    batch, length, dimension = x.shape
    total = batch * length
    _settle_kernel[(triton.cdiv(total, swept.constants["ROWS"]),)](
        x, swept.entry, swept.lowest, swept.reach, swept.codes, indices,
        total, length, size, dimension, *swept.sizes, *x.stride(), **swept.constants,
    )  # fmt: skip
