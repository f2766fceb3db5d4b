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

from .row_columns import FAR
from .sweep import ALL_CODES, LISTED

ROWS, CODES = 32, 64
# The loads of one row of its own against ROWS rows' arithmetic.
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
    number = ((listed >> (1 + at * group_bits).to(tl.int64)) & ((1 << group_bits) - 1)).to(tl.int32)
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
def _entry_of(n, splits, entry_ptr, lowest_ptr, reach_ptr, N, live, SPLIT: tl.constexpr):
    """Of rows searched in parts of the codebook: the entry, if one part alone may hold the answer, else one that is open;
    and what bounds the answer from above."""
    entry = tl.load(entry_ptr + n, mask=live, other=-1)
    bound = tl.full([n.shape[0]], FAR, tl.float32)
    if SPLIT:
        for s in range(splits):
            bound = tl.minimum(bound, tl.load(reach_ptr + s * N + n, mask=live, other=0.0))
        parts = tl.zeros([n.shape[0]], tl.int32)
        finite = entry != -1
        for s in range(splits):
            within = tl.load(lowest_ptr + s * N + n, mask=live, other=FAR) <= bound
            here = tl.load(entry_ptr + s * N + n, mask=live, other=-1)
            # All codes, if any part wants them; any list, if two parts are within.
            entry = tl.where(within, tl.where((parts > 0) & (entry == ALL_CODES), entry, here), entry)
            parts += within.to(tl.int32)
        entry = tl.where((parts > 1) & (entry != ALL_CODES), ALL_CODES - 1, entry)
        entry = tl.where(finite, entry, -1)
    return entry, bound


@triton.jit
def settled(
    n, live, entry_ptr, lowest_ptr, reach_ptr, rows, codes_ptr, N, K, D, stride_xd, splits, tiles, group_bits,
    EUCLIDEAN: tl.constexpr, SPLIT: tl.constexpr, BLOCK_K: tl.constexpr, LANES: tl.constexpr,
    GROUP_STEPS: tl.constexpr, BLOCK_D: tl.constexpr, CODES: tl.constexpr,
):  # fmt: skip
    """Nearest code of each row of a block, int32; -1 of rows that are not finite."""
    entry, bound = _entry_of(n, splits, entry_ptr, lowest_ptr, reach_ptr, N, live, SPLIT)
    wanted = entry == ALL_CODES
    if tl.sum(wanted.to(tl.int32), 0) >= MANY:
        found = compare_all(rows, wanted, codes_ptr, K, D, stride_xd, EUCLIDEAN, CODES, 4)
        entry = tl.where(wanted, tl.minimum(found, K - 1).to(tl.int64), entry)

    place = tl.arange(0, n.shape[0])
    left = tl.min(tl.where(entry < -1, place, n.shape[0]), 0)
    while left < n.shape[0]:
        here = place == left
        # A pointer and an entry, as the sum over the one row that counts.
        row = tl.sum(tl.where(here, rows.to(tl.int64), 0), 0).to(rows.dtype)
        own = tl.sum(tl.where(here, entry, 0), 0)
        distance = tl.full([CODES], FAR, tl.float32)
        index = tl.full([CODES], NO_INDEX, tl.int32)
        if SPLIT:
            number = tl.sum(tl.where(here, n, 0), 0)
            most = tl.sum(tl.where(here, bound, 0.0), 0)
            if own == ALL_CODES:
                distance, index = _compare_listed(
                    row, own, distance, index, codes_ptr, K, D, stride_xd, tiles, group_bits, EUCLIDEAN, BLOCK_K,
                    LANES, GROUP_STEPS, BLOCK_D,
                )  # fmt: skip
            else:
                for s in range(splits):
                    if tl.load(lowest_ptr + s * N + number) <= most:
                        part = _as_list(tl.load(entry_ptr + s * N + number), BLOCK_K, LANES, GROUP_STEPS)
                        distance, index = _compare_listed(
                            row, part, distance, index, codes_ptr, K, D, stride_xd, tiles, group_bits, EUCLIDEAN,
                            BLOCK_K, LANES, GROUP_STEPS, BLOCK_D,
                        )  # fmt: skip
        else:
            distance, index = _compare_listed(
                row, own, distance, index, codes_ptr, K, D, stride_xd, tiles, group_bits, EUCLIDEAN, BLOCK_K, LANES,
                GROUP_STEPS, BLOCK_D,
            )  # fmt: skip
        code = tl.minimum(_least(distance, index), K - 1)
        entry = tl.where(here, code.to(tl.int64), entry)
        left = tl.min(tl.where(entry < -1, place, n.shape[0]), 0)
    return entry.to(tl.int32)


@triton.jit
def _as_list(entry, BLOCK_K: tl.constexpr, LANES: tl.constexpr, GROUP_STEPS: tl.constexpr):
    """A certified code as the list of its group."""
    WIDTH: tl.constexpr = 8 // LANES
    SLOTS: tl.constexpr = BLOCK_K // (WIDTH * GROUP_STEPS)
    column = entry % BLOCK_K
    slot = column // (8 * GROUP_STEPS) * LANES + column % 8 // WIDTH
    return tl.where(entry >= 0, ALL_CODES - 1 - 2 * (entry // BLOCK_K * SLOTS + slot + 1), entry)
