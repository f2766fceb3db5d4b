"""The rows of x as bf16 parts, and their error bounds, for a search whose D is too large to keep them on the chip.

    x' = x - s          parts[n] = [high | low] of x', one after the other, each padded with zeros to PADDED_D
    bounds[n] = ‖x'‖, the factor that bounds the error per ‖c‖, and the constant that lifts scores above 0

The sweep then is a plain product of bf16 tiles, where splitting fp32 rows again for every tile took most of its
instructions, and its registers hold no rows. 4·N·D bytes of scratch (2·N·D for bf16 rows, which are exact in one part;
none where those can be read as they are) and 16·N, against x itself: no [N, K] matrix. Reference: aevae_fast/reference.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .configuration import SearchConfig
from .prepared_codebook import PreparedCodebook, shifts_rows
from .search_rows import row_bounds, row_pointers, store_bounds

BLOCK_N = 16


@triton.jit
def _split_rows_kernel(
    x_ptr, shift_ptr, largest_ptr, parts_ptr, bounds_ptr,
    N, S, D, stride_xb, stride_xs, stride_xd, kappa,
    EUCLIDEAN: tl.constexpr, ONE_PART: tl.constexpr, SHIFT_ROWS: tl.constexpr, STORE: tl.constexpr,
    PADDED_D: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    # x :: [B, S, D] fp16|bf16|fp32   shift :: [D] fp32   parts :: [N, 1 or 2, PADDED_D] bf16   bounds :: [N, 4] fp32
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    live = n < N
    norm, factor, lift = row_bounds(
        row_pointers(x_ptr, n, N, S, stride_xb, stride_xs), live,
        parts_ptr + n * (PADDED_D if ONE_PART else 2 * PADDED_D), shift_ptr, largest_ptr, D, stride_xd, kappa,
        EUCLIDEAN, SHIFT_ROWS, ONE_PART, PADDED_D, STORE,
    )  # fmt: skip
    store_bounds(bounds_ptr, n, live, norm, factor, lift)


def split_rows(
    x: torch.Tensor, prepared: PreparedCodebook, config: SearchConfig, metric: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """(parts, bounds) of x [B, S, D], whole blocks of rows; unread where the search keeps its rows on the chip."""
    batch, length, dimension = x.shape
    total = batch * length
    if config.block_d == config.padded_d:
        return prepared.split, prepared.bounds
    one_part = x.dtype == torch.bfloat16
    whole = dimension == config.padded_d and total % config.block_n == 0
    as_it_is = one_part and whole and x.is_contiguous() and x.data_ptr() % 16 == 0
    padded = -(-total // config.block_n) * config.block_n
    parts = x if as_it_is else x.new_empty((padded, 1 if one_part else 2, config.padded_d), dtype=torch.bfloat16)
    bounds = prepared.bounds.new_empty((total, 4))
    _split_rows_kernel[(triton.cdiv(total, BLOCK_N),)](
        x, prepared.shift, prepared.largest, parts, bounds, total, length, dimension, *x.stride(), prepared.kappa,
        EUCLIDEAN=metric == "euclidean", ONE_PART=one_part, SHIFT_ROWS=shifts_rows(x.dtype, metric),
        STORE=not as_it_is, PADDED_D=config.padded_d, BLOCK_N=BLOCK_N, num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
    return parts, bounds
