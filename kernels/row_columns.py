"""The rows of a block as the certified search multiplies them: fp16 columns that meet those of the codes.

    X = β(x - s)      as the codes (code_columns.py); for cosine and dot x times a power of two of the row's own
    columns           X in one part, or [high | low | high] of it; then 2^7, 2^-5, 2^-14 for the parts of the bias, the
                      factors by which the bounds of the codes grow, and a lift

The lift is a constant of the row that makes its scores positive, so that their bits compare as integers: ‖X‖·max‖c'‖,
or ½‖X‖² where that is less (euclidean), as no score lies below minus either. Everything in fp32.
Reference: aevae_fast/reference.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .code_columns import UP, power_below, split
from .rows import FAR

# Beyond these a row leaves fp16, or its scores the one that never wins.
LARGEST_ENTRY, LARGEST_FACTOR, LARGEST_SCORE = tl.constexpr(60000.0), tl.constexpr(900.0), tl.constexpr(2.0**21)
# What is known of a row.
ORDINARY, BEYOND, NOT_FINITE = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)


@triton.jit
def _extremes(extremes_ptr, count):
    """Largest norm of a code that is not far; least norm of one that is."""
    largest = tl.zeros([1], tl.float32)
    far = tl.full([1], FAR, tl.float32)
    for start in range(0, count, 128):
        i = start + tl.arange(0, 128)
        largest = tl.maximum(largest, tl.max(tl.load(extremes_ptr + i * 2, mask=i < count, other=0.0), 0))
        far = tl.minimum(far, tl.min(tl.load(extremes_ptr + i * 2 + 1, mask=i < count, other=FAR), 0))
    return largest, far


@triton.jit
def load_rows(rows, live, d, D, stride_xd):
    """Raw entries, fp32, of dimensions d, and which of them there are."""
    inside = live[:, None] & (d < D)[None, :]
    x = tl.load(rows[:, None] + d.to(tl.int64)[None, :] * stride_xd, mask=inside, other=0.0).to(tl.float32)
    return x, inside


@triton.jit
def scaled_rows(x, inside, d, D, shift_ptr, own_scale, EUCLIDEAN: tl.constexpr):
    """X of raw entries; own_scale [BLOCK_N] serves cosine and dot."""
    if EUCLIDEAN:
        shift = tl.load(shift_ptr + d, mask=d < D, other=0.0)
        x = (x - shift[None, :]) * tl.load(shift_ptr + D)
    else:
        x = x * own_scale[:, None]
    return tl.where(inside, x, 0.0)


@triton.jit
def row_bounds(
    rows, live, shift_ptr, extremes_ptr, programs, D, stride_xd, kappa,
    METRIC: tl.constexpr, PARTS: tl.constexpr, SEGMENT: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    """Norm, factor and lift of rows, what is known of them, and their own scale."""
    EUCLIDEAN: tl.constexpr = METRIC == "euclidean"
    BLOCK_N: tl.constexpr = live.shape[0]
    STEP: tl.constexpr = min(SEGMENT, AT_ONCE)  # dimensions, so that registers hold no whole rows
    own_scale = tl.full([BLOCK_N], 1.0, tl.float32)
    if not EUCLIDEAN:
        top = tl.zeros([BLOCK_N], tl.float32)
        for start in range(0, SEGMENT, STEP):
            x, _inside = load_rows(rows, live, start + tl.arange(0, STEP), D, stride_xd)
            top = tl.maximum(top, tl.max(tl.abs(x), 1))
        own_scale = power_below(top)
    square = tl.zeros([BLOCK_N], tl.float32)
    low_square = tl.zeros([BLOCK_N], tl.float32)
    residual_square = tl.zeros([BLOCK_N], tl.float32)
    top = tl.zeros([BLOCK_N], tl.float32)
    bad = tl.zeros([BLOCK_N], tl.int32)
    for start in range(0, SEGMENT, STEP):
        d = start + tl.arange(0, STEP)
        x, inside = load_rows(rows, live, d, D, stride_xd)
        bad += tl.sum(tl.where(tl.abs(x) < FAR, 0, 1), 1)
        x = scaled_rows(x, inside, d, D, shift_ptr, own_scale, EUCLIDEAN)
        # What overflows in being scaled is beyond fp16 too; what is not a number counts as bad, or as that.
        top = tl.maximum(top, tl.max(tl.where(tl.abs(x) < FAR, tl.abs(x), LARGEST_ENTRY), 1))
        x = tl.where(tl.abs(x) < FAR, x, 0.0)
        _high, low, residual = split(x)
        low = low.to(tl.float32)
        if PARTS == 1:
            residual += low
        square += tl.sum(x * x, 1)
        low_square += tl.sum(low * low, 1)
        residual_square += tl.sum(residual * residual, 1)

    norm = tl.sqrt(square)
    factor = tl.sqrt(residual_square) + kappa * norm
    if PARTS > 1:
        factor += tl.sqrt(low_square) * (1.02 * 2.0**-11)
    largest, far = _extremes(extremes_ptr, programs)
    lift = norm * largest
    if EUCLIDEAN:
        lift = tl.minimum(lift, 0.5 * square)
    beyond = (top >= LARGEST_ENTRY) | (factor >= LARGEST_FACTOR) | (norm * tl.maximum(largest, 1.0) >= LARGEST_SCORE)
    # The distance to a far code is at least far - ‖X‖, to any other at most ‖X‖ + largest.
    if EUCLIDEAN:
        beyond = beyond | (far <= 1.001 * (2 * norm + largest))
    if METRIC == "dot":
        beyond = beyond | (far < FAR)
    state = tl.where((bad == 0) & live, tl.where(beyond, BEYOND, ORDINARY), NOT_FINITE)
    norm = tl.where(state == ORDINARY, norm, 0.0)
    factor = tl.where(state == ORDINARY, factor, 0.0)
    return norm, factor, tl.where(state == ORDINARY, lift, 0.0), state, own_scale


@triton.jit
def packed_bounds(norm, factor, lift, state):
    """What a verdict needs of a row, in the 8 bytes of its entry: there it waits while tiles are swept, and takes no
    registers. Factor and lift, which only bound, are rounded up to 16 bits."""
    first = tl.where(state == ORDINARY, norm, -state.to(tl.float32)).to(tl.int32, bitcast=True)
    second = (factor.to(tl.int32, bitcast=True) + 0xFFFF) & -0x10000
    second |= (lift.to(tl.int32, bitcast=True) + 0xFFFF) >> 16
    return (first.to(tl.int64) << 32) | (second.to(tl.int64) & 0xFFFFFFFF)


@triton.jit
def unpacked_bounds(packed):
    """Norm, factor, lift and state."""
    first = (packed >> 32).to(tl.int32).to(tl.float32, bitcast=True)
    second = packed.to(tl.int32)
    factor = (second & -0x10000).to(tl.float32, bitcast=True)
    lift = (second << 16).to(tl.float32, bitcast=True)
    return tl.maximum(first, 0.0), factor, lift, tl.maximum(-first, 0.0).to(tl.int32)


@triton.jit
def with_extra(value, i, norm, factor, lift):
    """`value` with columns i of eight, of the rows' side."""
    value = tl.where(i == 0, 2.0**7, value)
    value = tl.where(i == 1, 2.0**-5, value)
    value = tl.where(i == 2, 2.0**-14, value)
    value = tl.where(i == 3, (factor * (UP * 2.0**6) + 2.0**-20)[:, None], value)
    value = tl.where(i == 4, (norm * (UP * 2.0**-6) + 2.0**-20)[:, None], value)
    value = tl.where(i == 5, 2.0**-5, value)
    return tl.where(i == 6, (lift * (UP * 2.0**-6) + 2.0**-20)[:, None], value)


@triton.jit
def row_columns(
    rows, live, shift_ptr, extremes_ptr, programs, D, stride_xd, kappa,
    METRIC: tl.constexpr, PARTS: tl.constexpr, SEGMENT: tl.constexpr, COLUMNS: tl.constexpr, INLINE: tl.constexpr,
    AT_ONCE: tl.constexpr,
):  # fmt: skip
    """Columns [BLOCK_N, COLUMNS] fp16 of rows that fit on the chip, with the extra ones if INLINE; norm, factor, lift
    and state."""
    norm, factor, lift, state, own_scale = row_bounds(
        rows, live, shift_ptr, extremes_ptr, programs, D, stride_xd, kappa, METRIC, PARTS, SEGMENT, AT_ONCE
    )
    if SEGMENT > 64:
        value, _low = _both_parts(rows, state, 0, D, shift_ptr, own_scale, stride_xd, METRIC, SEGMENT, AT_ONCE)
        return value, norm, factor, lift, state
    else:
        d = tl.arange(0, SEGMENT)
        x, inside = load_rows(rows, state == ORDINARY, d, D, stride_xd)
        value, low, _residual = split(scaled_rows(x, inside, d, D, shift_ptr, own_scale, METRIC == "euclidean"))
        if PARTS > 1:
            last = tl.zeros([x.shape[0], SEGMENT], tl.float32)
            if INLINE:
                last = with_extra(last, d[None, :], norm, factor, lift)
            # [high | low | high | last], in registers: loaded and split once.
            value = tl.join(tl.join(value, value), tl.join(low, last.to(tl.float16)))
            value = tl.reshape(tl.permute(value, [0, 2, 3, 1]), [x.shape[0], COLUMNS])
        return value, norm, factor, lift, state


@triton.jit
def row_parts(
    rows, live, shift_ptr, extremes_ptr, programs, D, stride_xd, kappa, METRIC: tl.constexpr, SEGMENT: tl.constexpr,
    AT_ONCE: tl.constexpr,
):  # fmt: skip
    """High and low parts of rows, [BLOCK_N, SEGMENT] fp16 each, apart; norm, factor, lift and state."""
    norm, factor, lift, state, own_scale = row_bounds(
        rows, live, shift_ptr, extremes_ptr, programs, D, stride_xd, kappa, METRIC, 3, SEGMENT, AT_ONCE
    )
    high, low = _both_parts(rows, state, 0, D, shift_ptr, own_scale, stride_xd, METRIC, SEGMENT, AT_ONCE)
    return high, low, norm, factor, lift, state


@triton.jit
def _both_parts(
    rows, state, start, D, shift_ptr, own_scale, stride_xd, METRIC: tl.constexpr, WIDTH: tl.constexpr,
    AT_ONCE: tl.constexpr,
):  # fmt: skip
    """High and low parts of X, of so many dimensions, AT_ONCE at a time: the addresses of all, in a layout that
    strides, would spill."""
    if WIDTH > AT_ONCE:
        HALF: tl.constexpr = WIDTH // 2
        a, a_low = _both_parts(rows, state, start, D, shift_ptr, own_scale, stride_xd, METRIC, HALF, AT_ONCE)
        b, b_low = _both_parts(rows, state, start + HALF, D, shift_ptr, own_scale, stride_xd, METRIC, HALF, AT_ONCE)
        return _beside(a, b), _beside(a_low, b_low)
    else:
        d = start + tl.arange(0, WIDTH)
        x, inside = load_rows(rows, state == ORDINARY, d, D, stride_xd)
        high, low, _residual = split(scaled_rows(x, inside, d, D, shift_ptr, own_scale, METRIC == "euclidean"))
        return high, low


@triton.jit
def _beside(a, b):
    """[a | b], in registers."""
    return tl.reshape(tl.permute(tl.join(a, b), [0, 2, 1]), [a.shape[0], 2 * a.shape[1]])


@triton.jit
def extra_columns(norm, factor, lift, EXTRA: tl.constexpr):
    """The extra columns as a tile of their own, [BLOCK_N, EXTRA] fp16."""
    i = tl.arange(0, EXTRA)[None, :]
    return with_extra(tl.zeros([norm.shape[0], EXTRA], tl.float32), i, norm, factor, lift).to(tl.float16)
