"""The certified search of one stage for a block of rows on the chip: device functions of the residual kernel.

    index[n] = argmin_k Σ_d (r[n, d] - c[k, d])²

1. Sweep (residual_sweep.py). Each score is a lower bound of the true one (residual_columns.py); of each place of
   a group in a tile the least is kept, its tile, and the second least.
2. Rescan. The winning group's 8 codes again, as direct Σ(r-c)² in fp32 from the rows and codes, lowest index first.
3. Certificate. `reach` is an upper bound of the winner's true score. A group whose lower bound exceeds it cannot hold
   the answer; other places' best groups within it are rescanned too. A place whose *second* best is within it has lost
   that group's tile: then, and only then, the block sweeps again and rescans every group in reach of such a row.

So the answer is the least (distance, index) over all codes that may be nearest, whatever the offsets, ties or outliers.
No [N, K] matrix, no atomics, no host sync. Reference: aevae_fast/reference.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .residual_columns import BLOCK, GROUP, row_bounds, row_extra, split
from .residual_sweep import best_groups, group_minima
from .rows import FAR
from .rows_on_chip import ROW, as_matrix, load_codes, of_rows, sum_of_rows

NO_INDEX = tl.constexpr(2147483647)


@triton.jit
def nearest_code_of_rows(
    rows, found, shift, largest, split_ptr, extra_ptr, bounds_ptr, codes_ptr, K, tiles, kappa,
    STRIDE: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Nearest code of each row, int32; -1 where not `found`, or where the row holds a NaN."""
    # rows, shift: as rows_on_chip.py lays them out   found :: [BLOCK_N] int1   K, tiles, all pointers: of the stage
    centred = tl.where(of_rows(found), rows - shift, 0.0)
    high, low, rest = split(centred)
    square, low = sum_of_rows(centred * centred), low.to(tl.float32)
    norm, factor, lift = row_bounds(square, sum_of_rows(low * low), sum_of_rows(rest * rest), largest, kappa)
    norm = tl.where(found, norm, float("nan"))
    high, low = as_matrix(high), as_matrix(low.to(tl.bfloat16))
    extra = row_extra(norm, factor, lift)
    best, best_tile, second = best_groups(tiles, high, low, extra, split_ptr, extra_ptr, BLOCK_K)

    SLOTS: tl.constexpr = best.shape[1]
    place = tl.arange(0, SLOTS)[None, :]
    lowest = tl.min(best, 1)
    slot = tl.min(tl.where(best <= lowest[:, None], place, SLOTS - 1), 1)
    reach = _reach(best_tile, lowest, slot, norm, factor, lift, bounds_ptr)
    finite = norm >= 0.0
    reach = tl.where(finite, reach, -FAR)

    distance = tl.full([found.shape[0]], FAR, tl.float32)
    index = tl.full([found.shape[0]], NO_INDEX, tl.int32)
    pending = ((best <= reach[:, None]) | (place == slot[:, None])) & finite[:, None]
    distance, index = _rescan(pending, best_tile, distance, index, rows, codes_ptr, K, STRIDE, BLOCK_K)
    open_row = tl.min(second, 1) <= reach
    if tl.max(open_row.to(tl.int32)[:, None]) > 0:
        for tile in tl.range(tiles, num_stages=1):
            least = group_minima(tile, high, low, extra, split_ptr, extra_ptr, BLOCK_K)
            least = tl.reshape(least, [found.shape[0], SLOTS]).to(tl.float32, bitcast=True)
            pending = (least <= reach[:, None]) & open_row[:, None]
            every = tl.full([found.shape[0], SLOTS], tile, tl.int32)
            distance, index = _rescan(pending, every, distance, index, rows, codes_ptr, K, STRIDE, BLOCK_K)
    return tl.where(finite, tl.minimum(index, K - 1), -1)


@triton.jit
def _reach(best_tile, lowest, slot, norm, factor, lift, bounds_ptr):
    """Upper bound of the true score of the row's nearest code."""
    SLOTS: tl.constexpr = best_tile.shape[1]
    place = tl.arange(0, SLOTS)[None, :]
    group = tl.sum(tl.where(place == slot[:, None], best_tile, 0), 1) * SLOTS + slot
    bounds = bounds_ptr + group.to(tl.int64) * 4
    error = tl.load(bounds) * factor + tl.load(bounds + 1) * norm + tl.load(bounds + 2)
    # Twice the bound, and 5% for its rounding up in bf16 on both sides (1/64 and 1/256 each); the lift, 2% more in its
    # column, enters in the last step of 16 and is cut 18 times at most: 2·18·1.02·2^-23 < 2^-17 for both sides.
    reach = lowest + 2.1 * error + 2.0**-17 * lift
    # A bound that rounding took below 0 sorts wrongly among its like, but below every bound above 0: a place's best is
    # one of them if it has any, its second best if it has two. With 0 always in reach none of them is missed, and
    # `lowest` is the bound of some group, so that reach lies above the winner's score whichever group that is.
    return tl.maximum(reach, 0.0)


@triton.jit
def _rescan_group(rows, active, tile, slot, codes_ptr, K, STRIDE: tl.constexpr, BLOCK_K: tl.constexpr):
    """Least (distance, index) among the codes of one group per row, a code at a time; FAR where not active."""
    first = tile * BLOCK_K + (slot // 4) * BLOCK + (slot % 4) * 2
    least = tl.full([active.shape[0]], FAR, tl.float32)
    index = tl.full([active.shape[0]], NO_INDEX, tl.int32)
    for member in tl.range(0, GROUP, num_stages=1):
        code = first + (member // 2) * 8 + member % 2
        real = active & (code < K)
        difference = rows - load_codes(codes_ptr, code, real, STRIDE, rows.shape[1 - ROW], rows.shape[2])
        distance = sum_of_rows(difference * difference)
        better = real & (distance < least)
        least = tl.where(better, distance, least)
        index = tl.where(better, code, index)
    return least, index


@triton.jit
def _rescan(pending, tiles, distance, index, rows, codes_ptr, K, STRIDE: tl.constexpr, BLOCK_K: tl.constexpr):
    """Rescan every pending group of each row, one a pass; keeps the least (distance, index)."""
    # pending :: [BLOCK_N, SLOTS] int1   tiles :: [BLOCK_N, SLOTS] int32
    SLOTS: tl.constexpr = pending.shape[1]
    place = tl.arange(0, SLOTS)[None, :]
    slot = tl.min(tl.where(pending, place, SLOTS), 1)
    left = tl.min(slot[:, None])  # of a column: of rows alone, Triton 3.6 fails on sm_100
    while left < SLOTS:
        tile = tl.sum(tl.where(place == slot[:, None], tiles, 0), 1)
        found, code = _rescan_group(rows, slot < SLOTS, tile, slot, codes_ptr, K, STRIDE, BLOCK_K)
        better = (found < distance) | ((found == distance) & (code < index))
        distance = tl.where(better, found, distance)
        index = tl.where(better, code, index)
        pending = pending & (place > slot[:, None])
        slot = tl.min(tl.where(pending, place, SLOTS), 1)
        left = tl.min(slot[:, None])
    return distance, index
