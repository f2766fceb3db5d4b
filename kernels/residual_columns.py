"""Rows and codes as the residual kernel multiplies them: centred, in two bf16 parts, with bias and error bounds beside.

    r' = r - s      c' = c - s        s: per-dimension median of at most 64 codes of the stage (residual_stages.py)
    score(r, k) = ½‖c'_k‖² - r'·c'_k  has the argmin of the distance
    r' = high + low + residual        the same for -c': bf16, so that tensor cores at bf16 rate see 16 bits of each

The next stage needs the answer at once, so a row that the sweep leaves open is compared again in the same kernel, where
that costs more than in a search of one stage (code_columns.py): hence three products, which leave fewer open, and bf16,
whose exponents hold the residuals of any stage without a scale.

Beside the codes stands a tile of 16 more columns, so that one more step of the same product adds the bias (as three
bf16, 24 bits) and takes off a bound of everything that rounding may have added: what comes out is a LOWER bound of the
true score. With ρ the norm of the residual of a split and u = 2^-8 the unit roundoff of bf16 (2u if it truncates),

    |error| ≤ ‖c'‖ (ρ_r + 2u·‖r_low‖ + κ‖r'‖)  +  ‖r'‖ ρ_c  +  κ·½‖c'‖²
               split of r, dropped low·low        split of c     bias

κ covers fp32 accumulation, taken as truncating (tensor cores align addends to the largest and cut). A step of 16
products (of 4 inside, if the hardware works in parts) cuts each addend, the accumulator and the sum by at most 2^-23 of
the largest of them, itself at most ‖r'‖‖c'‖ in a sum over D elements: (4 + 2)/4 = 1.5 cuts an element. The low products
come first, over all of D, while the accumulator is small: at most 2^-8 of the rest after the first pass, 2^-7 after the
second, 1.2% more in all. So κ = (1.55·D_pad + 32)·2^-23; the 32 pays for the extra step, for c - s and r - s rounded
once, the third bf16 of the bias and the 1% by which `high` may exceed its number.
Each bound is rounded up: times 1 + 2^-6, then to nearest bf16.

The lift, a constant of the row, makes its scores positive, so that their bits compare as integers: ‖r'‖·max‖c'‖, or
½‖r'‖² where that is less, as no score lies below minus either. Reference: aevae_fast/reference, the distance itself.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .residual_configuration import ResidualConfig

# Columns of the extra tile, one bf16 step of the tensor cores.
EXTRA = tl.constexpr(16)
# Codes of a group, as many as are read again, in fp32, for each row: columns that one thread holds of an MMA
# accumulator, 4 steps of 8 columns times 2 neighbours. A block of 32 codes is 4 groups.
GROUP, BLOCK = tl.constexpr(8), tl.constexpr(32)
LARGEST_LIFT = tl.constexpr(1e36)
# Score of a column that pads the codebook; far below fp32's largest, so that no sum overflows into NaN.
PADDING_BIAS = tl.constexpr(1e37)
UP = tl.constexpr(1.0 + 1.0 / 64)


@triton.jit
def split(value):
    """value = high + low + residual, the first two bf16."""
    high = value.to(tl.bfloat16)
    rest = value - high.to(tl.float32)
    low = rest.to(tl.bfloat16)
    return high, low, rest - low.to(tl.float32)


@triton.jit
def row_bounds(square, low_square, residual_square, largest, kappa):
    """Norm, factor and lift of rows from Σ over their entries; `largest`: ‖c'‖ of the stage."""
    norm = tl.sqrt(square)
    factor = kappa * norm
    factor += tl.sqrt(residual_square) + tl.sqrt(low_square) * (2.04 / 256)
    lift = tl.minimum(norm * largest, 0.5 * square)
    # Any lift is right, as bounds below 0 are all in reach; a finite one keeps codes that overflow from making NaNs.
    return norm, factor, tl.minimum(lift, LARGEST_LIFT)


@triton.jit
def row_extra(norm, factor, lift):
    """The rows' side of the extra columns, [BLOCK_N, EXTRA] bf16: 1, 1, 1, factor, norm, 1, lift."""
    column = tl.arange(0, EXTRA)[None, :]
    value = tl.where((column < 3) | (column == 5), 1.0, 0.0)
    value = tl.where(column == 3, UP * factor[:, None], value)
    value = tl.where(column == 4, UP * norm[:, None], value)
    value = tl.where(column == 6, UP * lift[:, None], value)
    return value.to(tl.bfloat16)


@triton.jit
def store_code_extra(extra_ptr, k, real, bias, norm, residual, bias_bound):
    """The codes' side: bias in three parts, minus ‖c'‖, ρ_c and the bias' bound, 1 for the lift."""
    # extra :: [K_pad, EXTRA] bf16
    bias = tl.where(real, tl.minimum(tl.maximum(bias, -PADDING_BIAS), PADDING_BIAS), PADDING_BIAS)
    first = bias.to(tl.bfloat16).to(tl.float32)
    second = (bias - first).to(tl.bfloat16).to(tl.float32)
    third = bias - first - second
    column = tl.arange(0, EXTRA)[None, :]
    value = tl.where(column == 0, first[:, None], 0.0)
    value = tl.where(column == 1, second[:, None], value)
    value = tl.where(column == 2, third[:, None], value)
    value = tl.where(column == 3, -UP * norm[:, None], value)
    value = tl.where(column == 4, -UP * residual[:, None], value)
    value = tl.where(column == 5, -UP * bias_bound[:, None], value)
    value = tl.where(column == 6, 1.0, value)
    value = tl.minimum(tl.maximum(value, -PADDING_BIAS), PADDING_BIAS)
    tl.store(extra_ptr + k[:, None] * EXTRA + column, value.to(tl.bfloat16))


@triton.jit
def _group_largest(value):
    # Group q of a block of codes holds columns 8j + 2q and 8j + 2q + 1 for every step j.
    return tl.max(tl.max(tl.reshape(value, [BLOCK // 8, 4, 2]), 2), 0)


@triton.jit
def store_group_bounds(bounds_ptr, block, norm, residual, bias_bound):
    """Largest ‖c'‖, ρ_c and bias' bound of each group of a block of codes."""
    # bounds :: [K_pad / GROUP, 4] fp32
    at = bounds_ptr + (block.to(tl.int64) * 4 + tl.arange(0, 4)) * 4
    tl.store(at, _group_largest(norm))
    tl.store(at + 1, _group_largest(residual))
    tl.store(at + 2, _group_largest(bias_bound))


def accumulation_bound(config: ResidualConfig) -> float:
    """κ of the docstring."""
    return (1.55 * config.block_d + 32) * 2.0**-23
