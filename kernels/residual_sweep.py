"""The sweep of the certified search: least lower bound of each group of 8 codes of a tile, from products in bf16.

    score = extra(x)·extra(c) + high·high + low·high + high·low        (low of x only where x has two parts)

Rows come from the chip, split once, or in bf16 parts from memory (split_rows.py), BLOCK_D dimensions at a time. Scores
never leave the accumulator; the minima are taken over their bits. Reference: aevae_fast/reference.
"""

from __future__ import annotations

import triton
import triton.language as tl

# The interpreter keeps bf16 as bit patterns and multiplies those; there the same numbers go through an fp32 product.
INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))


@triton.jit
def _dot(a, b, total):
    """total + a·bᵀ, from bf16 into fp32."""
    if INTERPRETED:
        return tl.dot(a.to(tl.float32), tl.trans(b.to(tl.float32)), total, input_precision="ieee")
    return tl.dot(a, tl.trans(b), total)


@triton.jit
def _products(high, low, code_high, code_low, total, ONE_PART: tl.constexpr):
    """total + x·c, small products first: κ rests on this order."""
    total = _dot(high, code_low, total)
    if not ONE_PART:
        total = _dot(low, code_high, total)
    return _dot(high, code_high, total)


@triton.jit
def _streamed_products(
    parts_ptr, codes_ptr, total, ONE_PART: tl.constexpr, PADDED_D: tl.constexpr, BLOCK_D: tl.constexpr
):
    """total + x·c from rows [high | low] and codes [low | high]: high·low, low·high, high·high (ONE_PART: 2 passes)."""
    BLOCKS: tl.constexpr = PADDED_D // BLOCK_D
    LAST: tl.constexpr = BLOCKS if ONE_PART else 2 * BLOCKS
    # Scalar bases and constant offsets, so that a load takes no address arithmetic of its own.
    d = tl.arange(0, BLOCK_D)[None, :]
    row_at = tl.arange(0, total.shape[0])[:, None] * LAST * BLOCK_D + d
    code_at = tl.arange(0, total.shape[1])[:, None] * (2 * PADDED_D) + d
    for step in range(LAST + BLOCKS):
        row_step = step - tl.where(step >= LAST, LAST, 0)
        code_step = step - tl.where(step >= 2 * BLOCKS, BLOCKS, 0)
        row = tl.load(parts_ptr + row_step * BLOCK_D + row_at)
        code = tl.load(codes_ptr + code_step * BLOCK_D + code_at)
        total = _dot(row, code, total)
    return total


@triton.jit
def group_minima(
    tile, high, low, extra, parts_ptr, split_ptr, extra_ptr,
    ONE_PART: tl.constexpr, PADDED_D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_K: tl.constexpr, EXTRA: tl.constexpr,
    READ_LATE: tl.constexpr,
):  # fmt: skip
    """Least lower bound of each group of a tile of codes, its bits as int32: [BLOCK_N, BLOCK_K / 32, 4]."""
    k = tl.arange(0, BLOCK_K)[:, None]
    extra_at = extra_ptr + tile * (BLOCK_K * EXTRA) + (k * EXTRA + tl.arange(0, EXTRA)[None, :])
    if READ_LATE:  # where registers hold the rows too: each part of the codes when it is used
        at = split_ptr + tile * (BLOCK_K * 2 * PADDED_D) + (k * (2 * PADDED_D) + tl.arange(0, BLOCK_D)[None, :])
        score = _dot(high, tl.load(at), tl.zeros([extra.shape[0], BLOCK_K], tl.float32))
        code_high = tl.load(at + PADDED_D)
        score = _dot(high, code_high, _dot(low, code_high, score))
        score = _dot(extra, tl.load(extra_at), score)
        return _minima_of_8(score.to(tl.int32, bitcast=True))
    code_extra = tl.load(extra_at)
    codes_ptr = split_ptr + tile * (BLOCK_K * 2 * PADDED_D)
    score = tl.zeros([extra.shape[0], BLOCK_K], tl.float32)
    if PADDED_D == BLOCK_D:
        at = codes_ptr + (k * (2 * PADDED_D) + tl.arange(0, BLOCK_D)[None, :])
        score = _products(high, low, tl.load(at + PADDED_D), tl.load(at), score, ONE_PART)
    else:
        score = _streamed_products(parts_ptr, codes_ptr, score, ONE_PART, PADDED_D, BLOCK_D)
    score = _dot(extra, code_extra, score)
    return _minima_of_8(score.to(tl.int32, bitcast=True))


@triton.jit
def _minima_of_8(score):
    """Least of each group of 8 columns of [BLOCK_N, BLOCK_K]: columns 8j + 2q + {0, 1}, j = 0 … 3, for q = 0 … 3."""
    # One thread of an MMA accumulator holds them, so no shuffle is needed. Splits, not a reduction: the chain of minima
    # is what becomes three-input VIMNMX3, 3.5 instructions for 8 scores instead of 7.
    GROUPS: tl.constexpr = score.shape[1] // 32
    score = tl.permute(tl.reshape(score, [score.shape[0], GROUPS, 2, 2, 4, 2]), [0, 1, 4, 2, 3, 5])
    even, odd = tl.split(score)
    a, b = tl.split(even)
    c, d = tl.split(odd)
    a0, a1 = tl.split(a)
    b0, b1 = tl.split(b)
    c0, c1 = tl.split(c)
    d0, d1 = tl.split(d)
    least = tl.minimum(tl.minimum(a0, a1), b0)
    least = tl.minimum(tl.minimum(least, b1), c0)
    least = tl.minimum(tl.minimum(least, c1), d0)
    return tl.minimum(least, d1)


@triton.jit
def best_groups(
    tiles, high, low, extra, parts_ptr, split_ptr, extra_ptr,
    ONE_PART: tl.constexpr, PADDED_D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_K: tl.constexpr, EXTRA: tl.constexpr,
    READ_LATE: tl.constexpr,
):  # fmt: skip
    """Of each group place of a tile, per row: the least lower bound and its tile; and the least of the second ones.

    [BLOCK_N, SLOTS] fp32 and int32, [BLOCK_N, 4] fp32."""
    BLOCK_N: tl.constexpr = extra.shape[0]
    GROUPS: tl.constexpr = BLOCK_K // 32
    SLOTS: tl.constexpr = 4 * GROUPS
    best = tl.full([BLOCK_N, GROUPS, 4], float("inf"), tl.float32).to(tl.int32, bitcast=True)
    second = tl.min(best, 1)
    best_tile = tl.zeros([BLOCK_N, GROUPS, 4], tl.int32)
    for tile in range(tiles):
        least = group_minima(
            tile,
            high,
            low,
            extra,
            parts_ptr,
            split_ptr,
            extra_ptr,
            ONE_PART,
            PADDED_D,
            BLOCK_D,
            BLOCK_K,
            EXTRA,
            READ_LATE,
        )
        second = tl.minimum(second, tl.min(tl.maximum(best, least), 1))
        best_tile = tl.where(least < best, tile, best_tile)
        best = tl.minimum(best, least)
    best = tl.reshape(best, [BLOCK_N, SLOTS]).to(tl.float32, bitcast=True)
    return best, tl.reshape(best_tile, [BLOCK_N, SLOTS]), second.to(tl.float32, bitcast=True)
