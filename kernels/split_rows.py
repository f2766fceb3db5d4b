"""The rows of x as fp16 parts, and their error bounds, for a search whose D is too large to keep them on the chip.

    X = β(x - s) (row_columns.py)      parts[n] = fp16(X), padded with zeros      bounds[n] = ‖X‖, factor, lift, state

The sweep then is a plain product of fp16 tiles, a block of dimensions at a time, and its registers hold no rows.
Scratch of 2·N·D bytes and 16·N: no [N, K] matrix. Reference: aevae_fast/reference.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .code_columns import CodeColumns
from .configuration import SearchConfig
from .row_columns import NOT_FINITE, ORDINARY, load_rows, row_bounds, scaled_rows
from .rows import row_pointers

BLOCK_N, BLOCK_D = 16, 64


@triton.jit
def _split_rows_kernel(
    x_ptr, shift_ptr, extremes_ptr, parts_ptr, bounds_ptr,
    N, S, D, programs, stride_xb, stride_xs, stride_xd, kappa,
    METRIC: tl.constexpr, COLUMNS: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # x :: [B, S, D] fp16|bf16|fp32   shift :: [D + 1] fp32   parts :: [N_pad, COLUMNS] fp16   bounds :: [N, 4] fp32
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    live = n < N
    rows = row_pointers(x_ptr, n, N, S, stride_xb, stride_xs)
    norm, factor, lift, state, own_scale = row_bounds(
        rows, live, shift_ptr, extremes_ptr, programs, D, stride_xd, kappa, METRIC, 1, COLUMNS, 32
    )
    for start in range(0, COLUMNS, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        x, inside = load_rows(rows, state == ORDINARY, d, D, stride_xd)
        x = scaled_rows(x, inside, d, D, shift_ptr, own_scale, METRIC == "euclidean")
        tl.store(parts_ptr + n[:, None] * COLUMNS + d[None, :], x.to(tl.float16))
    tl.store(bounds_ptr + n * 4, norm, mask=live)
    tl.store(bounds_ptr + n * 4 + 1, factor, mask=live)
    tl.store(bounds_ptr + n * 4 + 2, lift, mask=live)
    tl.store(bounds_ptr + n * 4 + 3, state.to(tl.float32), mask=live)


@triton.jit
def load_bounds(bounds_ptr, n, live):
    """Norm, factor, lift and state of rows."""
    state = tl.load(bounds_ptr + n * 4 + 3, mask=live, other=NOT_FINITE).to(tl.int32)
    norm = tl.load(bounds_ptr + n * 4, mask=live, other=0.0)
    factor = tl.load(bounds_ptr + n * 4 + 1, mask=live, other=0.0)
    return norm, factor, tl.load(bounds_ptr + n * 4 + 2, mask=live, other=0.0), state


def split_rows(
    x: torch.Tensor, columns: CodeColumns, config: SearchConfig, metric: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """(parts, bounds) of x [B, S, D], whole blocks of rows; unread where the search keeps its rows on the chip."""
    batch, length, dimension = x.shape
    total = batch * length
    if not config.streamed:
        return columns.main, columns.bounds
    padded = -(-total // config.block_n) * config.block_n
    parts = columns.main.new_empty((padded, config.columns))
    bounds = columns.bounds.new_empty((total, 4))
    _split_rows_kernel[(padded // BLOCK_N,)](
        x, columns.shift, columns.extremes, parts, bounds, total, length, dimension, len(columns.extremes), *x.stride(),
        columns.kappa, METRIC=metric, COLUMNS=config.columns, BLOCK_N=BLOCK_N, BLOCK_D=BLOCK_D, num_warps=4,
        enable_fp_fusion=True,
    )  # fmt: skip
    return parts, bounds
