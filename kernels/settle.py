"""The rows that the sweep left open, compared exactly: codes that may be nearest, again, from the raw rows and codes.

    distance = Σ_d (x - c)²   (euclidean; -x·c for cosine and dot)   in fp32; the least (distance, index) wins

An open row's entry (sweep.py) lists groups of codes, slots to be compared in every tile, or all codes. A program holds
ROWS rows, passes over those that are certified, and takes the others one after the other, CODES codes of each at a
time: many loads in flight, and work only for rows that need it. Where MANY rows or more of a program want all codes
(clusters far from each other, codes that differ by an ulp: no bound tells those apart) it compares the whole block with
all of them instead, each number loaded once for the block: no slower then than a search without a certificate.
Ties fall to the lowest index: one row is compared by one loop, in which equal codes give equal sums. Nothing here waits
for the host; how much there is to do never leaves the device. Reference: aevae_fast/reference.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .rows import FAR
from .sweep import ALL_CODES, LISTED

CODES = 64
# Left to itself ptxas goes down to 72 registers a thread, and spills two numbers for that.
REGISTERS = 128
# From so many rows of a program on, to load each code once for all 32 beats loading it for each of them.
MANY = tl.constexpr(8)
NO_INDEX = tl.constexpr(2147483647)


@triton.jit
def _better(found, code, distance, index):
    better = (found < distance) | ((found == distance) & (code < index))
    return tl.where(better, found, distance), tl.where(better, code, index)


@triton.jit
def _least(distance, index):
    """Least (distance, index) along the last axis: the index."""
    axis: tl.constexpr = len(distance.shape) - 1
    least = tl.expand_dims(tl.min(distance, axis), axis)
    return tl.min(tl.where(distance == least, index, NO_INDEX), axis)


@triton.jit
def _listed_code(listed, m, tiles, group_bits, BLOCK_K: tl.constexpr, LANES: tl.constexpr, GROUP_STEPS: tl.constexpr):
    """Code m of those that an entry lists; -1 where there is none."""
    WIDTH: tl.constexpr = 8 // LANES
    GROUP: tl.constexpr = WIDTH * GROUP_STEPS
    SLOTS: tl.constexpr = BLOCK_K // GROUP
    every_tile = (listed & 1) > 0
    at = (m // GROUP) % LISTED
    number = ((listed >> tl.minimum(1 + at * group_bits, 62).to(tl.int64)) & ((1 << group_bits) - 1)).to(tl.int32)
    tile = tl.where(every_tile, m // (GROUP * LISTED), (number - 1) // SLOTS)
    slot = (number - 1) % SLOTS
    column = m % GROUP
    code = tile * BLOCK_K + (slot // LANES) * (8 * GROUP_STEPS) + (column // WIDTH) * 8
    code += (slot % LANES) * WIDTH + column % WIDTH
    return tl.where((number > 0) & (m < tl.where(every_tile, tiles, 1) * (GROUP * LISTED)), code, -1)


@triton.jit
def _compare_listed(
    row, entry, distance, index, codes_ptr, K, D, stride_xd, tiles, group_bits,
    EUCLIDEAN: tl.constexpr, BLOCK_K: tl.constexpr, LANES: tl.constexpr, GROUP_STEPS: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Least (distance, index), in each of CODES lanes, over what an entry lists of the row at `row`."""
    CODES: tl.constexpr = distance.shape[0]
    full = entry == ALL_CODES
    listed = ALL_CODES - 1 - entry
    count = tl.where(full, K, tl.where((listed & 1) > 0, tiles, 1) * (8 // LANES * GROUP_STEPS * LISTED))
    for start in range(0, count, CODES):
        m = start + tl.arange(0, CODES)
        code = tl.where(full, m, _listed_code(listed, m, tiles, group_bits, BLOCK_K, LANES, GROUP_STEPS))
        real = (code >= 0) & (code < K)
        total = tl.zeros([CODES], tl.float32)
        for first in range(0, D, BLOCK_D):
            d = first + tl.arange(0, BLOCK_D)
            x = tl.load(row + d.to(tl.int64) * stride_xd, mask=d < D, other=0.0).to(tl.float32)[None, :]
            c = tl.load(codes_ptr + code.to(tl.int64)[:, None] * D + d[None, :],
                        mask=real[:, None] & (d < D)[None, :], other=0.0)  # fmt: skip
            total += tl.sum((x - c) * (x - c) if EUCLIDEAN else -x * c, 1)
        distance, index = _better(tl.where(real, total, FAR), tl.where(real, code, NO_INDEX), distance, index)
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
    return _least(distance, index)


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
        distance, index = _compare_listed(
            row, entry, distance, index, codes_ptr, K, D, stride_xd, tiles, group_bits, EUCLIDEAN, BLOCK_K, LANES,
            GROUP_STEPS, BLOCK_D,
        )  # fmt: skip
    else:
        s = tl.arange(0, SPLITS)
        lowest = tl.load(lowest_ptr + s * N + n, mask=s < splits, other=FAR)
        part = tl.min(tl.where((s < splits) & (lowest <= bound), s, SPLITS), 0)
        while part < SPLITS:
            listed = _as_list(tl.load(entry_ptr + part * N + n), BLOCK_K, LANES, GROUP_STEPS)
            distance, index = _compare_listed(
                row, listed, distance, index, codes_ptr, K, D, stride_xd, tiles, group_bits, EUCLIDEAN, BLOCK_K, LANES,
                GROUP_STEPS, BLOCK_D,
            )  # fmt: skip
            part = tl.min(tl.where((s > part) & (s < splits) & (lowest <= bound), s, SPLITS), 0)
    return tl.minimum(_least(distance, index), K - 1)


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
    wanted = entry == ALL_CODES
    if tl.sum(wanted.to(tl.int32), 0) >= MANY:
        found = compare_all(rows, wanted, codes_ptr, K, D, stride_xd, EUCLIDEAN, CODES // 2, 4)
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


@triton.jit
def _as_list(entry, BLOCK_K: tl.constexpr, LANES: tl.constexpr, GROUP_STEPS: tl.constexpr):
    """A certified code as the list of its group."""
    WIDTH: tl.constexpr = 8 // LANES
    SLOTS: tl.constexpr = BLOCK_K // (WIDTH * GROUP_STEPS)
    column = entry % BLOCK_K
    slot = column // (8 * GROUP_STEPS) * LANES + column % 8 // WIDTH
    return tl.where(entry >= 0, ALL_CODES - 1 - 2 * (entry // BLOCK_K * SLOTS + slot + 1), entry)


def rows_of(total: int) -> int:
    """Rows of a program: fewer where there are few, as it takes the open ones in turn."""
    return 32 if total >= 16384 else 8
