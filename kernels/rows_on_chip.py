"""Rows that live on the chip: [CHUNKS, BLOCK_N, WIDTH] fp32, entry d of row n at [d // WIDTH, n, d % WIDTH].

Zeros past D. Chunks of at most 32 columns, apart, so that eight threads share a row: each holds four entries of every
chunk behind one pointer, and a sum over a row takes three shuffles. As [BLOCK_N, D], a warp would hold one row of 128,
with a pointer and five shuffles for each of its rows.

Triton hands a warp's threads to the columns first, and then, of rows and chunks, to the later axis; before 3.9 to the
earlier one, where the two axes change places for that.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .configuration import CHAINS_PRODUCTS

# Entries of a code that are read at once, 16 bytes.
CODE_STEP = 4
# The axis of rows.
ROW = tl.constexpr(1 if CHAINS_PRODUCTS else 0)


@triton.jit
def of_rows(value):
    """[BLOCK_N] beside rows."""
    if ROW == 1:
        return value[None, :, None]
    else:
        return value[:, None, None]


@triton.jit
def columns(CHUNKS: tl.constexpr, WIDTH: tl.constexpr):
    """d of each entry, beside rows."""
    chunk, column = tl.arange(0, CHUNKS) * WIDTH, tl.arange(0, WIDTH)[None, None, :]
    if ROW == 1:
        return chunk[:, None, None] + column
    else:
        return chunk[None, :, None] + column


@triton.jit
def sum_of_rows(value):
    """Σ over d: [BLOCK_N]."""
    return tl.sum(tl.sum(value, 1 - ROW), 1)


@triton.jit
def as_matrix(rows):
    """[BLOCK_N, D]."""
    if ROW == 1:
        rows = tl.permute(rows, [1, 0, 2])
    return tl.reshape(rows, [rows.shape[0], rows.shape[1] * rows.shape[2]])


@triton.jit
def load_codes(codes_ptr, index, real, STRIDE: tl.constexpr, CHUNKS: tl.constexpr, WIDTH: tl.constexpr):
    """Codes of these indices, STRIDE apart, as rows are; zeros where not `real`."""
    d = columns(CHUNKS, WIDTH)
    at = of_rows(codes_ptr + index.to(tl.int64) * STRIDE) + d
    inside = of_rows(real)
    if STRIDE < CHUNKS * WIDTH:
        inside = inside & (d < STRIDE)
    return tl.load(at, mask=inside, other=0.0)


def code_stride(dimension: int, block_d: int) -> int:
    """Numbers from a code to the next: whole reads of 16 bytes, and whole chunks, so that reads need no masks."""
    return -(-dimension // CODE_STEP) * CODE_STEP if block_d == 16 else block_d
