"""The residual kernel's sweep: least lower bound of each group of 8 codes of a tile, from products in bf16.

    score = high·low + low·high + high·high + extra(r)·extra(c)      in this order: κ rests on it (residual_columns.py)

Rows stay on the chip, split once a stage. Scores never leave the accumulator; only values are compared, as bits: a min
over groups of codes that one thread holds, then for each of the SLOTS places of a group in a tile the best value, its
tile, and the second best. Reference: aevae_fast/reference.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .residual_columns import BLOCK, EXTRA

# The interpreter keeps bf16 as bit patterns and multiplies those; there the same numbers go through an fp32 product.
INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))


@triton.jit
def _dot(a, b, total):
    """total + a·bᵀ, from bf16 into fp32."""
    if INTERPRETED:
        return tl.dot(a.to(tl.float32), tl.trans(b.to(tl.float32)), total, input_precision="ieee")
    return tl.dot(a, tl.trans(b), total)


@triton.jit
def group_minima(tile, high, low, extra, split_ptr, extra_ptr, BLOCK_K: tl.constexpr):
    """Least lower bound of each group of a tile of codes, its bits as int32: [BLOCK_N, BLOCK_K / 32, 4]."""
    # high, low :: [BLOCK_N, BLOCK_D] bf16   extra :: [BLOCK_N, EXTRA] bf16   split_ptr, extra_ptr: of the stage's codes
    BLOCK_D: tl.constexpr = high.shape[1]
    k = tl.arange(0, BLOCK_K)[:, None]
    extra_at = extra_ptr + tile * (BLOCK_K * EXTRA) + (k * EXTRA + tl.arange(0, EXTRA)[None, :])
    at = split_ptr + tile * (BLOCK_K * 2 * BLOCK_D) + (k * (2 * BLOCK_D) + tl.arange(0, BLOCK_D)[None, :])
    # Each part of the codes is read when it is used, as registers hold the rows too.
    score = _dot(high, tl.load(at), tl.zeros([extra.shape[0], BLOCK_K], tl.float32))
    code_high = tl.load(at + BLOCK_D)
    score = _dot(high, code_high, _dot(low, code_high, score))
    score = _dot(extra, tl.load(extra_at), score)
    return _minima_of_8(score.to(tl.int32, bitcast=True))


@triton.jit
def _minima_of_8(score):
    """Least of each group of 8 columns of [BLOCK_N, BLOCK_K]: columns 8j + 2q + {0, 1}, j = 0 … 3, for q = 0 … 3."""
    # One thread of an MMA accumulator holds them, so no shuffle is needed. Splits, not a reduction: the chain of minima
    # is what becomes three-input VIMNMX3, 3.5 instructions for 8 scores instead of 7.
    BLOCKS: tl.constexpr = score.shape[1] // BLOCK
    score = tl.permute(tl.reshape(score, [score.shape[0], BLOCKS, 2, 2, 4, 2]), [0, 1, 4, 2, 3, 5])
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
def best_groups(tiles, high, low, extra, split_ptr, extra_ptr, BLOCK_K: tl.constexpr):
    """Of each group place of a tile, per row: the least lower bound and its tile; and the least of the second ones.

    [BLOCK_N, SLOTS] fp32 and int32, [BLOCK_N, 4] fp32."""
    BLOCK_N: tl.constexpr = extra.shape[0]
    BLOCKS: tl.constexpr = BLOCK_K // BLOCK
    SLOTS: tl.constexpr = 4 * BLOCKS
    best = tl.full([BLOCK_N, BLOCKS, 4], float("inf"), tl.float32).to(tl.int32, bitcast=True)
    second = tl.min(best, 1)
    best_tile = tl.zeros([BLOCK_N, BLOCKS, 4], tl.int32)
    for tile in range(tiles):
        least = group_minima(tile, high, low, extra, split_ptr, extra_ptr, BLOCK_K)
        second = tl.minimum(second, tl.min(tl.maximum(best, least), 1))
        best_tile = tl.where(least < best, tile, best_tile)
        best = tl.minimum(best, least)
    best = tl.reshape(best, [BLOCK_N, SLOTS]).to(tl.float32, bitcast=True)
    return best, tl.reshape(best_tile, [BLOCK_N, SLOTS]), second.to(tl.float32, bitcast=True)
