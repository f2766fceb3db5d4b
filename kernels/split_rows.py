"""The rows of x as bf16 parts, for a search whose D is too large to keep them on the chip.

    x' = x - s          parts[n] = [high | low] of x', one after the other, each padded with zeros to PADDED_D

The sweep then is a plain product of bf16 tiles, where splitting fp32 rows again for every tile took most of its
instructions. 4·N·D bytes of scratch (2·N·D for bf16 rows, which are exact in one part; none where those can be read as
they are), against x itself: no [N, K] matrix. Reference: aevae_fast/reference.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .configuration import SearchConfig
from .prepared_codebook import PreparedCodebook
from .search_rows import load_rows, row_pointers, split


@triton.jit
def _split_rows_kernel(
    x_ptr, shift_ptr, parts_ptr,
    N, S, D, stride_xb, stride_xs, stride_xd,
    ONE_PART: tl.constexpr, SHIFT_ROWS: tl.constexpr, PADDED_D: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # x :: [B, S, D] fp16|bf16|fp32   shift :: [D] fp32   parts :: [N, 1 or 2, PADDED_D] bf16
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    live = n < N
    rows = row_pointers(x_ptr, n, N, S, stride_xb, stride_xs)
    x, _bad = load_rows(rows, live, d, D, stride_xd, shift_ptr, SHIFT_ROWS)
    high, low, _residual = split(x)
    COLUMNS: tl.constexpr = PADDED_D if ONE_PART else 2 * PADDED_D
    targets = parts_ptr + n[:, None] * COLUMNS + d[None, :]
    tl.store(targets, high, mask=live[:, None])
    if not ONE_PART:
        tl.store(targets + PADDED_D, low, mask=live[:, None])


def split_rows(x: torch.Tensor, prepared: PreparedCodebook, config: SearchConfig, shifted: bool) -> torch.Tensor:
    """The parts of x [B, S, D], whole blocks of rows; unread where the search keeps its rows on the chip."""
    batch, length, dimension = x.shape
    total = batch * length
    if config.block_d == config.padded_d:
        return prepared.split
    one_part = x.dtype == torch.bfloat16
    whole = dimension == config.padded_d and total % config.block_n == 0
    if one_part and whole and x.is_contiguous() and x.data_ptr() % 16 == 0:
        return x
    padded = -(-total // config.block_n) * config.block_n
    parts = x.new_empty((padded, 1 if one_part else 2, config.padded_d), dtype=torch.bfloat16)
    block_n = 32
    _split_rows_kernel[(triton.cdiv(total, block_n), config.padded_d // 64)](
        x, prepared.shift, parts, total, length, dimension, *x.stride(),
        ONE_PART=one_part, SHIFT_ROWS=shifted, PADDED_D=config.padded_d, BLOCK_N=block_n, BLOCK_D=64,
        num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
    return parts
