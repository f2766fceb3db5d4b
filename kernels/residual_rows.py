"""The rows of a block as the certified search reads them: their addresses, bf16 parts, norms and error bounds.

Beside the parts of a row stand the columns that meet those of the codes (prepared_codebook.py): 1 for each part of the
bias, and the factors by which the codes' bounds grow. Everything in fp32. Reference: aevae_fast/reference.
"""

from __future__ import annotations

import triton
import triton.language as tl

FAR = tl.constexpr(float("inf"))
LARGEST_LIFT = tl.constexpr(1e36)


@triton.jit
def split(value):
    """value = high + low + residual, the first two bf16."""
    high = value.to(tl.bfloat16)
    rest = value - high.to(tl.float32)
    low = rest.to(tl.bfloat16)
    return high, low, rest - low.to(tl.float32)


@triton.jit
def bounds_of(
    square, spread_square, low_square, residual_square, largest, kappa,
    EUCLIDEAN: tl.constexpr, ONE_PART: tl.constexpr,
):  # fmt: skip
    """Norm, factor and lift of rows from Σ over their entries: of the rows, of the centred ones, of what is split."""
    norm = tl.sqrt(square)
    factor = kappa * norm
    if not ONE_PART:
        factor += tl.sqrt(residual_square) + tl.sqrt(low_square) * (2.04 / 256)
    lift = tl.sqrt(spread_square) * largest
    if EUCLIDEAN:
        lift = tl.minimum(lift, 0.5 * spread_square)
    # Any lift is right, as bounds below 0 are all in reach; a finite one keeps codes that overflow from making NaNs.
    return norm, factor, tl.minimum(lift, LARGEST_LIFT)


@triton.jit
def extra_columns(norm, factor, lift, EXTRA: tl.constexpr):
    """The rows' side of the bias and bound columns: 1, 1, 1, factor, norm, 1, lift."""
    up = 1.0 + 1.0 / 64
    column = tl.arange(0, EXTRA)[None, :]
    value = tl.where((column < 3) | (column == 5), 1.0, 0.0)
    value = tl.where(column == 3, up * factor[:, None], value)
    value = tl.where(column == 4, up * norm[:, None], value)
    value = tl.where(column == 6, up * lift[:, None], value)
    return value.to(tl.bfloat16)
