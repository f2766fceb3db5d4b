"""The rows that the sweep left open, compared exactly: codes that may be nearest, again, from the raw rows and codes.

    distance = Σ_d (x - c)²   (euclidean; -x·c for cosine and dot)   in fp32; the least (distance, index) wins

An open row's entry (entries.py) lists groups of codes, slots to be compared in every tile, or all codes. A program
holds ROWS rows, passes over those that are certified, and takes the others one after the other, CODES codes of each at
a time: many loads in flight, and work only for rows that need it. Where the rows of a program want as many codes as two
of 8 that want all, or four of 32 (clusters far from each other, codes that differ by an ulp: no bound tells those
apart) it compares the whole block with all of them instead, each number loaded once for the block: no slower then than
a search without a certificate.
Ties fall to the lowest index: one row is compared by one loop, in which equal codes give equal sums. Nothing here waits
for the host; how much there is to do never leaves the device. Reference: aevae_fast/reference.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .entries import ALL_CODES, as_list, code_at, count_of, is_wide, slots_within
from .rows import FAR

CODES = 64
# A block that is compared with all codes takes so many at a time, in steps of so many dimensions.
BLOCK_CODES, STEP = tl.constexpr(32), tl.constexpr(4)
NO_INDEX = tl.constexpr(2147483647)


@triton.jit
def _better(found, code, distance, index):
    better = (found < distance) | ((found == distance) & (code < index))
    return tl.where(better, found, distance), tl.where(better, code, index)


@triton.jit
def least(distance, index):
    """Least (distance, index) along the last axis: the index."""
    axis: tl.constexpr = len(distance.shape) - 1
    lowest = tl.expand_dims(tl.min(distance, axis), axis)
    return tl.min(tl.where(distance == lowest, index, NO_INDEX), axis)


@triton.jit
def compare_codes(row, code, real, distance, index, codes_ptr, D, stride_xd, EUCLIDEAN: tl.constexpr,
                  BLOCK_D: tl.constexpr):  # fmt: skip
    """Least (distance, index) of each lane, the code of each among them, where it is real; of the one row at `row`."""
    total = tl.zeros(code.shape, tl.float32)
    for first in range(0, D, BLOCK_D):
        d = first + tl.arange(0, BLOCK_D)
        x = tl.load(row + d.to(tl.int64) * stride_xd, mask=d < D, other=0.0).to(tl.float32)[None, :]
        c = tl.load(codes_ptr + code.to(tl.int64)[:, None] * D + d[None, :],
                    mask=real[:, None] & (d < D)[None, :], other=0.0)  # fmt: skip
        total += tl.sum((x - c) * (x - c) if EUCLIDEAN else -x * c, 1)
    return _better(tl.where(real, total, FAR), tl.where(real, code, NO_INDEX), distance, index)


@triton.jit
def _compare_entry(
    row, entry, distance, index, codes_ptr, K, D, stride_xd, first, tiles, group_bits,
    EUCLIDEAN: tl.constexpr, BLOCK_K: tl.constexpr, LANES: tl.constexpr, GROUP_STEPS: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Least (distance, index), in each of CODES lanes, over what an entry names for the row at `row`; of slots, in so
    many tiles from the first on."""
    CODES: tl.constexpr = distance.shape[0]
    GROUP: tl.constexpr = 8 // LANES * GROUP_STEPS
    SLOTS: tl.constexpr = BLOCK_K // GROUP
    for start in range(0, count_of(entry, K, tiles, SLOTS, GROUP), CODES):
        m = start + tl.arange(0, CODES)
        code = code_at(entry, m, first, group_bits, SLOTS, BLOCK_K, LANES, GROUP_STEPS)
        real = (code >= 0) & (code < K)
        distance, index = compare_codes(row, code, real, distance, index, codes_ptr, D, stride_xd, EUCLIDEAN, BLOCK_D)
    return distance, index


@triton.jit
def compare_all(
    rows, wanted, codes_ptr, K, D, stride_xd, EUCLIDEAN: tl.constexpr, CODES: tl.constexpr, STEP: tl.constexpr
):  # fmt: skip
    """Nearest code of each wanted row of a block, of all codes, directly."""
    ROWS: tl.constexpr = wanted.shape[0]
    distance = tl.full([ROWS, CODES], FAR, tl.float32)
    index = tl.full([ROWS, CODES], NO_INDEX, tl.int32)
    for start in range(0, K, CODES):
        k = start + tl.arange(0, CODES)
        total = tl.zeros([ROWS, CODES, STEP], tl.float32)
        for first in range(0, D, STEP):
            d = first + tl.arange(0, STEP)
            x = tl.load(rows[:, None] + d.to(tl.int64)[None, :] * stride_xd,
                        mask=wanted[:, None] & (d < D)[None, :], other=0.0).to(tl.float32)  # fmt: skip
            c = tl.load(codes_ptr + k.to(tl.int64)[:, None] * D + d[None, :],
                        mask=(k < K)[:, None] & (d < D)[None, :], other=0.0)  # fmt: skip
            if EUCLIDEAN:
                difference = x[:, None, :] - c[None, :, :]
                total += difference * difference
            else:
                total -= x[:, None, :] * c[None, :, :]
        found = tl.where((k < K)[None, :], tl.sum(total, 2), FAR)
        distance, index = _better(found, tl.broadcast_to(k[None, :], [ROWS, CODES]), distance, index)
    return least(distance, index)


@triton.jit
def _joined(n, live, splits, entry_ptr, lowest_ptr, reach_ptr, N, SPLITS: tl.constexpr):
    """Of rows searched in parts of the codebook: the entry, if one part alone may hold the answer, else one that is
    open; and what bounds the answer's score from above."""
    s = tl.arange(0, SPLITS)[:, None]
    at = s * N + n[None, :]
    there = (s < splits) & live[None, :]
    entry = tl.load(entry_ptr + at, mask=there, other=0)
    bound = tl.min(tl.load(reach_ptr + at, mask=there, other=FAR), 0)
    within = there & (tl.load(lowest_ptr + at, mask=there, other=FAR) <= bound[None, :])
    found = tl.sum(tl.where(within, entry, 0), 0)
    alone = tl.sum(within.to(tl.int32), 0) == 1
    full = tl.max((within & (entry == ALL_CODES)).to(tl.int32), 0) > 0
    found = tl.where(full, ALL_CODES, tl.where(alone, found, ALL_CODES - 1))
    return tl.where(tl.min(entry, 0) == -1, -1, tl.where(live, found, -1)), bound


@triton.jit
def _compare_open(
    row, n, entry, bound, entry_ptr, lowest_ptr, codes_ptr, N, K, D, stride_xd, splits, tiles, group_bits,
    EUCLIDEAN: tl.constexpr, SPLITS: tl.constexpr, BLOCK_K: tl.constexpr, LANES: tl.constexpr,
    GROUP_STEPS: tl.constexpr, BLOCK_D: tl.constexpr, CODES: tl.constexpr,
):  # fmt: skip
    """Nearest code of the one open row n, of those that its entry lists, or those of the parts within its bound."""
    distance = tl.full([CODES], FAR, tl.float32)
    index = tl.full([CODES], NO_INDEX, tl.int32)
    if (SPLITS == 1) | (entry == ALL_CODES):
        distance, index = _compare_entry(
            row, entry, distance, index, codes_ptr, K, D, stride_xd, 0, tiles, group_bits, EUCLIDEAN, BLOCK_K, LANES,
            GROUP_STEPS, BLOCK_D,
        )  # fmt: skip
    else:
        s = tl.arange(0, SPLITS)
        each = tl.cdiv(tiles, splits)  # as splits_of has it
        lowest = tl.load(lowest_ptr + s * N + n, mask=s < splits, other=FAR)
        part = tl.min(tl.where((s < splits) & (lowest <= bound), s, SPLITS), 0)
        while part < SPLITS:
            listed = as_list(tl.load(entry_ptr + part * N + n), BLOCK_K, LANES, GROUP_STEPS)
            distance, index = _compare_entry(
                row, listed, distance, index, codes_ptr, K, D, stride_xd, part * each, each, group_bits, EUCLIDEAN,
                BLOCK_K, LANES, GROUP_STEPS, BLOCK_D,
            )  # fmt: skip
            part = tl.min(tl.where((s > part) & (s < splits) & (lowest <= bound), s, SPLITS), 0)
    return tl.minimum(least(distance, index), K - 1)


@triton.jit
def settled(
    n, live, entry_ptr, lowest_ptr, reach_ptr, rows, codes_ptr, N, K, D, stride_xd, splits, tiles, group_bits,
    EUCLIDEAN: tl.constexpr, SPLITS: tl.constexpr, BLOCK_K: tl.constexpr, LANES: tl.constexpr,
    GROUP_STEPS: tl.constexpr, BLOCK_D: tl.constexpr, CODES: tl.constexpr,
):  # fmt: skip
    """Nearest code of each row of a block, int32; -1 of rows that are not finite."""
    ROWS: tl.constexpr = n.shape[0]
    bound = tl.full([ROWS], FAR, tl.float32)
    if SPLITS > 1:
        entry, bound = _joined(n, live, splits, entry_ptr, lowest_ptr, reach_ptr, N, SPLITS)
    else:
        entry = tl.load(entry_ptr + n, mask=live, other=-1)
    SLOTS: tl.constexpr = BLOCK_K // (8 // LANES * GROUP_STEPS)
    slots = tl.where(entry == ALL_CODES, SLOTS, 0)  # to be compared in all tiles
    if SPLITS == 1:
        within = (slots_within(entry)[:, None] >> tl.arange(0, SLOTS)[None, :]) & 1
        slots = tl.where(is_wide(entry), tl.sum(within, 1), slots)
    # By rates of an H100: 32 rows with a code, at two instructions an element and 128 lanes a clock, take as long as
    # its 4 bytes from L2 three times. A block of 8 is bound by these bytes, and takes as long as one row.
    MANY: tl.constexpr = max(2, ROWS // 8)
    if tl.sum(slots, 0) >= MANY * SLOTS:
        wanted = slots > 0
        found = compare_all(rows, wanted, codes_ptr, K, D, stride_xd, EUCLIDEAN, BLOCK_CODES, STEP)
        entry = tl.where(wanted, tl.minimum(found, K - 1).to(tl.int64), entry)

    place = tl.arange(0, ROWS)
    left = tl.min(tl.where(entry < -1, place, ROWS), 0)
    while left < ROWS:
        here = place == left
        # A pointer, a number, an entry: each the sum over the one row that counts.
        code = _compare_open(
            tl.sum(tl.where(here, rows.to(tl.int64), 0), 0).to(rows.dtype), tl.sum(tl.where(here, n, 0), 0),
            tl.sum(tl.where(here, entry, 0), 0), tl.sum(tl.where(here, bound, 0.0), 0), entry_ptr, lowest_ptr,
            codes_ptr, N, K, D, stride_xd, splits, tiles, group_bits,
            EUCLIDEAN, SPLITS, BLOCK_K, LANES, GROUP_STEPS, BLOCK_D, CODES,
        )  # fmt: skip
        entry = tl.where(here, code.to(tl.int64), entry)
        left = tl.min(tl.where(entry < -1, place, ROWS), 0)
    return entry.to(tl.int32)


def dimensions_of(dimension: int) -> int:
    """Dimensions that are read at a time: of codes that 16 does not divide each number has an address of its own."""
    return 16 if dimension % 16 else min(64, triton.next_power_of_2(dimension))


def registers_of(splits: int) -> int:
    """Of a thread: left to itself ptxas goes down to 72, and spills two for that. A codebook in parts takes more."""
    return 128 if splits == 1 else 168


def rows_of(total: int) -> int:
    """Rows of a program: fewer where there are few, as it takes the open ones in turn."""
    return 32 if total >= 16384 else 8
