"""Rows that live on the chip: [CHUNKS, BLOCK_N, WIDTH] fp32, entry d of row n at [d // WIDTH, n, d % WIDTH].

Zeros past D. Chunks of at most 32 columns, first, so that eight threads share a row: each holds four entries of every
chunk behind one pointer, and a sum over a row takes three shuffles. As [BLOCK_N, D], a warp would hold one row of 128,
with a pointer and five shuffles for each of its rows.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .prepared_codebook import CODE_STEP


@triton.jit
def columns(CHUNKS: tl.constexpr, WIDTH: tl.constexpr):
    """d of each entry: [CHUNKS, 1, WIDTH]."""
    return tl.arange(0, CHUNKS)[:, None, None] * WIDTH + tl.arange(0, WIDTH)[None, None, :]


@triton.jit
def sum_of_rows(value):
    """Σ over d: [BLOCK_N]."""
    return tl.sum(tl.sum(value, 0), 1)


@triton.jit
def as_matrix(rows):
    """[BLOCK_N, D]."""
    return tl.reshape(tl.permute(rows, [1, 0, 2]), [rows.shape[1], rows.shape[0] * rows.shape[2]])


@triton.jit
def load_codes(codes_ptr, index, real, STRIDE: tl.constexpr, CHUNKS: tl.constexpr, WIDTH: tl.constexpr):
    """Codes of these indices, STRIDE apart, as rows are; zeros where not `real`."""
    d = columns(CHUNKS, WIDTH)
    at = (codes_ptr + index.to(tl.int64) * STRIDE)[None, :, None] + d
    inside = real[None, :, None]
    if STRIDE < CHUNKS * WIDTH:
        inside = inside & (d < STRIDE)
    return tl.load(at, mask=inside, other=0.0)


def code_stride(dimension: int, block_d: int) -> int:
    """Numbers from a code to the next: whole reads of 16 bytes, and whole chunks, so that reads need no masks."""
    return -(-dimension // CODE_STEP.value) * CODE_STEP.value if block_d == 16 else block_d
