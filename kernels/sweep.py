"""The sweep of the certified search: lower bounds of all scores from fp16 products, and a verdict for each row.

    score[n, k] = columns of row n · columns of code k  ≤  the true score + the row's lift        (code_columns.py)

Only values are compared. A tile's codes have a slot (a group of codes that one thread holds) and a member (the place in
the group). Kept per row: for each slot the least score of its groups, with the number of its tile in the lowest bits;
for each member the least score over all slots and tiles; and the least that lost its slot to another tile. Scores are
positive, so bits compare as integers: three-input minima, about one instruction a (row, code) pair for all of it,
where a min with indices takes six.

The winner's `reach` is an upper bound of its true score. **Certified**: if one slot, one member and nothing that lost a
slot lies within it, the code at that slot, member and tile is the answer, proved: any other code differs in its slot or
member, or shares both in a tile that lost. Rows where more lies within reach stay open, with what is to be compared
exactly (entries.py); narrow.py finds out more of it, settle.py compares. No [N, K] matrix, no host sync.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .code_columns import UP
from .entries import ALL_CODES, LIST_BITS, LISTED, light_entry, wide_entry
from .row_columns import BEYOND, ORDINARY
from .rows import FAR

# Bits of a score that never wins against one that does: sums below stay finite.
UNREACHED = tl.constexpr(0x7F000000)


@triton.jit
def dot(a, b, total):
    """total + a·bᵀ, from fp16 into fp32."""
    return tl.dot(a, tl.trans(b), total)


@triton.jit
def tile_scores(
    x, x_extra, parts_ptr, main, extra, tile, COLUMNS: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr, INLINE: tl.constexpr, EXTRA: tl.constexpr, DESCRIPTORS: tl.constexpr,
):  # fmt: skip
    """Scores [BLOCK_N, BLOCK_K] of the codes of a tile. x [BLOCK_N, COLUMNS], or where rows lie in memory as parts
    their offsets there [BLOCK_N, 1]."""
    score = tl.zeros([BLOCK_N, BLOCK_K], tl.float32)
    k = tl.arange(0, BLOCK_K)[:, None]
    d = tl.arange(0, BLOCK_D)[None, :]
    # Scalar bases and constant offsets, so that a load takes no address arithmetic of its own.
    codes = main
    if not DESCRIPTORS:
        codes = main + tile * (BLOCK_K * COLUMNS)
    if COLUMNS == BLOCK_D:
        if DESCRIPTORS:  # noqa: SIM108  Triton prunes statements by a constant, not expressions
            code = main.load([tile * BLOCK_K, 0])
        else:
            code = tl.load(codes + (k * COLUMNS + d))
        score = dot(x, code, score)
    else:
        for step in range(COLUMNS // BLOCK_D):
            part = tl.load(parts_ptr + step * BLOCK_D + (x + d))
            score = dot(part, tl.load(codes + step * BLOCK_D + (k * COLUMNS + d)), score)
    if not INLINE:
        if DESCRIPTORS:
            code_extra = extra.load([tile * BLOCK_K, 0])
        else:
            code_extra = tl.load(extra + tile * (BLOCK_K * EXTRA) + (k * EXTRA + tl.arange(0, EXTRA)[None, :]))
        score = dot(x_extra, code_extra, score)
    return score


@triton.jit
def apart_scores(x, x_low, x_extra, main, low, extra, tile, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):
    """The same of rows and codes in two parts each, [BLOCK_N, COLUMNS] and descriptors of tiles. Products with a low
    part come first, while the sum is small: κ (code_columns.py) rests on that."""
    high = main.load([tile * BLOCK_K, 0])
    score = dot(x, low.load([tile * BLOCK_K, 0]), tl.zeros([BLOCK_N, BLOCK_K], tl.float32))
    score = dot(x_low, high, score)
    score = dot(x, high, score)
    return dot(x_extra, extra.load([tile * BLOCK_K, 0]), score)


@triton.jit
def _least_of_three(a, b, c, PTX: tl.constexpr):
    # In PTX: LLVM's order of such minima hides the three-input ones from the assembler.
    if PTX:
        return tl.inline_asm_elementwise(
            "{.reg .s32 t; min.s32 t, $1, $2; min.s32 $0, t, $3;}", "=r,r,r,r", [a, b, c],
            dtype=tl.int32, is_pure=True, pack=1,
        )  # fmt: skip
    else:
        return tl.minimum(tl.minimum(a, b), c)


@triton.jit
def _least_over_blocks(value, bits, PTX: tl.constexpr):
    """min(value [BLOCK_N, R], least over axis 1 of bits [BLOCK_N, 1, 2 or 4, R])."""
    ROWS: tl.constexpr = bits.shape[0]
    BLOCKS: tl.constexpr = bits.shape[1]
    if BLOCKS == 1:
        return tl.minimum(value, tl.reshape(bits, value.shape))
    elif BLOCKS == 2:
        a, b = tl.split(tl.permute(bits, [0, 2, 1]))
        return _least_of_three(value, a, b, PTX)
    else:
        even, odd = tl.split(tl.permute(tl.reshape(bits, [ROWS, 2, 2, bits.shape[2]]), [0, 3, 1, 2]))
        a, b = tl.split(even)
        c, d = tl.split(odd)
        return _least_of_three(_least_of_three(value, a, b, PTX), c, d, PTX)


@triton.jit
def _least_of_16(bits):
    """Least over the last four axes, of two each: a chain of minima, which becomes three-input ones."""
    a, b = tl.split(bits)
    a0, a1 = tl.split(a)
    b0, b1 = tl.split(b)
    a00, a01 = tl.split(a0)
    a10, a11 = tl.split(a1)
    b00, b01 = tl.split(b0)
    b10, b11 = tl.split(b1)
    c0, c1 = tl.split(a00)
    c2, c3 = tl.split(a01)
    c4, c5 = tl.split(a10)
    c6, c7 = tl.split(a11)
    d0, d1 = tl.split(b00)
    d2, d3 = tl.split(b01)
    d4, d5 = tl.split(b10)
    d6, d7 = tl.split(b11)
    least = tl.minimum(tl.minimum(c0, c1), c2)
    least = tl.minimum(tl.minimum(least, c3), c4)
    least = tl.minimum(tl.minimum(least, c5), c6)
    least = tl.minimum(tl.minimum(least, c7), d0)
    least = tl.minimum(tl.minimum(least, d1), d2)
    least = tl.minimum(tl.minimum(least, d3), d4)
    least = tl.minimum(tl.minimum(least, d5), d6)
    return tl.minimum(least, d7)


@triton.jit
def group_minima(bits, LANES: tl.constexpr, GROUP_STEPS: tl.constexpr):
    """Least of each slot's group of a tile, [BLOCK_N, blocks, LANES]: columns 8j + q·(8 / LANES) + 0, 1, … of a block
    of 8·GROUP_STEPS, j < GROUP_STEPS, for q < LANES. One thread holds them of an MMA accumulator: no shuffle."""
    ROWS: tl.constexpr = bits.shape[0]
    BLOCKS: tl.constexpr = bits.shape[1] // (8 * GROUP_STEPS)
    if LANES == 2:
        groups = tl.reshape(bits, [ROWS, BLOCKS, 2, 2, 2, 2, 2])
        return _least_of_16(tl.permute(groups, [0, 1, 4, 2, 3, 5, 6]))
    elif GROUP_STEPS == 8:
        groups = tl.reshape(bits, [ROWS, BLOCKS, 2, 2, 2, 4, 2])
        return _least_of_16(tl.permute(groups, [0, 1, 5, 2, 3, 4, 6]))
    else:
        a, b = tl.split(tl.permute(tl.reshape(bits, [ROWS, BLOCKS, 2, 8, 4, 2]), [0, 1, 4, 3, 5, 2]))
        a = _least_of_16(tl.reshape(a, [ROWS, BLOCKS, 4, 2, 2, 2, 2]))
        return tl.minimum(a, _least_of_16(tl.reshape(b, [ROWS, BLOCKS, 4, 2, 2, 2, 2])))


@triton.jit
def kept_so_far(best, second, member, score, tile, tile_mask, GROUP_STEPS: tl.constexpr, PTX: tl.constexpr):
    """What is kept of the tiles up to this one. best [BLOCK_N, blocks, LANES], second [BLOCK_N, LANES], member
    [BLOCK_N, 8·GROUP_STEPS]: bits of scores, int32."""
    BLOCKS: tl.constexpr = best.shape[1]
    bits = score.to(tl.int32, bitcast=True)
    new = (group_minima(bits, best.shape[2], GROUP_STEPS) & tile_mask) | tile
    second = _least_over_blocks(second, tl.maximum(best, new), PTX)
    member = _least_over_blocks(member, tl.reshape(bits, [bits.shape[0], BLOCKS, 8 * GROUP_STEPS]), PTX)
    return tl.minimum(best, new), second, member


@triton.jit
def verdict(
    best, second, member, norm, factor, lift, state, bounds_ptr, tile_mask, group_bits, K,
    BLOCK_K: tl.constexpr, GROUP_STEPS: tl.constexpr, ENTRY_SLOTS: tl.constexpr,
):  # fmt: skip
    """entry [BLOCK_N] int64 (entries.py), and the least score and its reach, of what `kept_so_far` kept."""
    BLOCK_N: tl.constexpr = best.shape[0]
    LANES: tl.constexpr = best.shape[2]
    SLOTS: tl.constexpr = LANES * best.shape[1]
    # Members first, as two numbers and a column: theirs are a quarter of the registers.
    column = tl.arange(0, 8 * GROUP_STEPS)[None, :]
    score = member.to(tl.float32, bitcast=True)
    member_lowest = tl.min(score, 1)
    member_place = tl.min(tl.where(score <= member_lowest[:, None], column, BLOCK_K), 1)
    member_second = tl.min(tl.where(column == member_place[:, None], FAR, score), 1)
    second = tl.min(second.to(tl.float32, bitcast=True), 1)

    place = tl.arange(0, SLOTS)[None, :]
    best = tl.reshape(best, [BLOCK_N, SLOTS])
    score = best.to(tl.float32, bitcast=True)
    lowest = tl.min(score, 1)
    slot = tl.min(tl.where(score <= lowest[:, None], place, SLOTS - 1), 1)
    group = (best & ~tile_mask) * SLOTS + place
    winner = tl.sum(tl.where(place == slot[:, None], group, 0), 1)
    at = bounds_ptr + winner.to(tl.int64) * 4
    # At most what the columns took off, as they were rounded: up, by 2^-11 twice; subnormals by less than is added.
    error = (factor * UP + 2.0**-26) * (tl.load(at) * UP + 2.0**-14)
    error += (norm * UP + 2.0**-14) * (tl.load(at + 1) * UP + 2.0**-26) + tl.load(at + 2) * UP + 2.0**-25
    # The least lower bound, what was taken off it, and the error itself: twice `error`, with 1% for its own rounding.
    # The lift enters in the last step of 16 products and is cut 18 times at most: 2·18·2^-23 < 2^-17 for both sides.
    reach = lowest + 2.02 * 1.002 * error + 2.0**-17 * UP * lift
    # The tile's number stands in the lowest bits of `best`: it moves a score by less than 2^-22 of it a bit, twice.
    # A bound that rounding took below 0 sorts wrongly among its like, but below every bound above 0: a slot's best is
    # one of them if it has any, what lost the slot if it has two. With 0 always in reach none of them is missed.
    reach = tl.maximum(reach, 0.0) * (1.0 + (~tile_mask + 1).to(tl.float32) * 2.0**-21)
    reach = tl.where(state == BEYOND, FAR, reach)

    within = score <= reach[:, None]
    slots = tl.sum(within.to(tl.int32), 1)
    code = (winner // SLOTS) * BLOCK_K + (slot // LANES) * (8 * GROUP_STEPS) + member_place
    lost = second <= reach
    alone = (member_lowest <= reach) & (member_second > reach)
    certified = (slots == 1) & alone & ~lost & (state == ORDINARY)

    light = (slots <= LISTED) & (slots * group_bits <= LIST_BITS) & ~lost
    entry = tl.where(light, light_entry(within, group, group_bits), wide_entry(within, reach, ENTRY_SLOTS))
    entry = tl.where(state == ORDINARY, entry, ALL_CODES)
    entry = tl.where(certified, tl.minimum(code, K - 1).to(tl.int64), entry)
    return tl.where((state == ORDINARY) | (state == BEYOND), entry, -1), lowest, reach
