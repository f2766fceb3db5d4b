"""What a sweep says of a row, one int64 each: its code, or what of the codebook is to be compared exactly.

    ≥ 0     the code, certified
    -1      the row is not finite
    -2      ALL_CODES
    below   ALL_CODES - 1 - v of a row that is open. v even: a list of at most LISTED groups of codes, the number
            (tile · slots + slot) of each plus 1, in group_bits bits. v odd, a wide row: its reach in 31 bits (fp32,
            positive), then a bit for each slot that holds a code within reach, in any tile

A tile's codes fall into slots, groups that one thread holds of an MMA accumulator: `code_of` says which.
"""

from __future__ import annotations

import triton
import triton.language as tl

ALL_CODES = tl.constexpr(-2)
# Groups that a list holds, and bits for them.
LISTED, LIST_BITS = tl.constexpr(6), tl.constexpr(60)
_SLOT_BITS = tl.constexpr(32)


@triton.jit
def _value(entry):
    return -entry + (ALL_CODES - 1)  # its own inverse


@triton.jit
def light_entry(within, group, group_bits):
    """Entries that list the groups [BLOCK_N, SLOTS] of slots within reach, of which there are at most LISTED."""
    SLOTS: tl.constexpr = within.shape[1]
    place = tl.arange(0, SLOTS)[None, :]
    listed = tl.zeros([within.shape[0]], tl.int64)
    for i in tl.static_range(LISTED):
        slot = tl.min(tl.where(within, place, SLOTS), 1)
        number = tl.sum(tl.where(place == slot[:, None], group + 1, 0), 1)
        listed += number.to(tl.int64) << tl.minimum(1 + i * group_bits, LIST_BITS)
        within = within & (place > slot[:, None])
    return _value(listed)


@triton.jit
def wide_entry(within, reach, SLOTS: tl.constexpr):
    """Entries that name the slots within reach, and it; as slots of tiles that hold one of these or more."""
    place = tl.arange(0, within.shape[1])[None, :]
    own = tl.sum(tl.where(within, 1 << place, 0), 1).to(tl.int64)
    slots = own
    for i in tl.static_range(1, SLOTS // within.shape[1]):
        slots += own << (i * within.shape[1])
    return _value((slots << _SLOT_BITS) + (reach.to(tl.int32, bitcast=True).to(tl.int64) << 1) + 1)


@triton.jit
def is_wide(entry):
    return (entry < ALL_CODES) & ((_value(entry) & 1) > 0)


@triton.jit
def reach_bits(entry):
    """Of wide rows, the bits of their reach, int32."""
    return ((_value(entry) >> 1) & 0x7FFFFFFF).to(tl.int32)


@triton.jit
def slots_within(entry):
    """Of wide rows, the slots within reach, int32, a bit each."""
    return (_value(entry) >> _SLOT_BITS).to(tl.int32)


@triton.jit
def code_of(tile, slot, column, BLOCK_K: tl.constexpr, LANES: tl.constexpr, GROUP_STEPS: tl.constexpr):
    """The code at `column` of the group at a tile's slot."""
    WIDTH: tl.constexpr = 8 // LANES
    code = tile * BLOCK_K + (slot // LANES) * (8 * GROUP_STEPS) + (column // WIDTH) * 8
    return code + (slot % LANES) * WIDTH + column % WIDTH


@triton.jit
def count_of(entry, K, tiles, SLOTS: tl.constexpr, GROUP: tl.constexpr):
    """Of an open entry: how many places `code_at` has."""
    wide = tl.sum((slots_within(entry) >> tl.arange(0, SLOTS)) & 1, 0) * (tiles * GROUP)
    return tl.where(entry == ALL_CODES, K, tl.where(is_wide(entry), wide, LISTED * GROUP))


@triton.jit
def code_at(
    entry, m, first, group_bits, SLOTS: tl.constexpr, BLOCK_K: tl.constexpr, LANES: tl.constexpr,
    GROUP_STEPS: tl.constexpr,
):  # fmt: skip
    """Codes m of those that an open entry names; -1 where there is none. Of a wide row from tile `first` on."""
    GROUP: tl.constexpr = 8 // LANES * GROUP_STEPS
    bits = tl.minimum(1 + (m // GROUP) % LISTED * group_bits, LIST_BITS + 1).to(tl.int64)
    number = ((_value(entry) >> bits) & ((1 << group_bits) - 1)).to(tl.int32)
    listed = code_of((number - 1) // SLOTS, (number - 1) % SLOTS, m % GROUP, BLOCK_K, LANES, GROUP_STEPS)
    listed = tl.where((number > 0) & (m < LISTED * GROUP), listed, -1)

    # The slots of a wide row, one after the other, are the same in each tile.
    place = tl.arange(0, SLOTS)
    within = (slots_within(entry) >> place) & 1
    rank = tl.where(within > 0, tl.cumsum(within, 0) - 1, SLOTS)
    slots = tl.maximum(tl.sum(within, 0), 1)
    wanted = m // GROUP % slots
    slot = tl.sum(tl.where(rank[None, :] == wanted[:, None], place[None, :], 0), 1)
    wide = code_of(first + m // (GROUP * slots), slot, m % GROUP, BLOCK_K, LANES, GROUP_STEPS)
    return tl.where(entry == ALL_CODES, m, tl.where(is_wide(entry), wide, listed))


@triton.jit
def as_list(entry, BLOCK_K: tl.constexpr, LANES: tl.constexpr, GROUP_STEPS: tl.constexpr):
    """A certified code as the list of its group."""
    WIDTH: tl.constexpr = 8 // LANES
    SLOTS: tl.constexpr = BLOCK_K // (WIDTH * GROUP_STEPS)
    column = entry % BLOCK_K
    slot = column // (8 * GROUP_STEPS) * LANES + column % 8 // WIDTH
    return tl.where(entry >= 0, _value(2 * (entry // BLOCK_K * SLOTS + slot + 1)), entry)
