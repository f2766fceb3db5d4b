"""The certified nearest-code search of one block of rows: device functions that nearest_code and vector_quantize share.

    index[n] = argmin_k Σ_d (x[n, d] - c[k, d])²        (euclidean; -x·c/‖c‖ for cosine, -x·c for dot)

1. Sweep. Tiles of BLOCK_K codes; each score is a lower bound of the true one (prepared_codebook.py), from bf16 products
   with fp32 accumulation. Only values are compared: a min over groups of 8 codes that one thread holds, then for each
   of the SLOTS = BLOCK_K / 8 group places of a tile the best value, its tile, and the second best. A constant per
   row, the lift, makes scores positive, so that their bits compare as integers: three-input minima, 1.1 instructions
   per (row, code) for all of this, where a min with indices takes 6. The lift is ‖x'‖·max‖c'‖, or ½‖x'‖² where that is
   less (euclidean): no score lies below minus either.
2. Rescan. The winning group's 8 codes again, as direct Σ(x-c)² in fp32 from the raw rows and codes, lowest index first.
3. Certificate. `reach` is an upper bound of the winner's true score. A group whose lower bound exceeds it cannot hold
   the answer; other places' best groups within it are rescanned too. A place whose *second* best is within it has lost
   that group's tile: then, and only then, the block sweeps again and rescans every group in reach of such a row.

So the answer is the least (distance, index) over all codes that may be nearest, whatever the offsets, ties or outliers.
No [N, K] matrix, no atomics, no host sync. Rows with a non-finite entry get index -1.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .residual_rescan import NO_INDEX, rescan_reached
from .residual_rows import FAR
from .residual_sweep import group_minima


@triton.jit
def search_block(
    x_ptr, n, live, parts_ptr, row_bounds_ptr, split_ptr, extra_ptr, bounds_ptr, largest_ptr, codes_ptr, shift_ptr,
    N, S, K, D, tiles, stride_xb, stride_xs, stride_xd, kappa,
    EUCLIDEAN: tl.constexpr, ONE_PART: tl.constexpr, SHIFT_ROWS: tl.constexpr, PADDED_D: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_STEPS: tl.constexpr, EXTRA: tl.constexpr,
):  # fmt: skip
    """Nearest code of each row of a block, int32; -1 where the row is not live or not finite."""
    BLOCK_N: tl.constexpr = n.shape[0]
    high, low = parts_ptr, parts_ptr
    if PADDED_D == BLOCK_D:
        rows = row_pointers(x_ptr, n, N, S, stride_xb, stride_xs)
        norm, factor, lift = row_bounds(
            rows, live, rows, shift_ptr, largest_ptr, D, stride_xd, kappa,
            EUCLIDEAN, SHIFT_ROWS, ONE_PART, PADDED_D, False,
        )  # fmt: skip
        x, _bad = load_rows(rows, live, tl.arange(0, BLOCK_D), D, stride_xd, shift_ptr, SHIFT_ROWS)
        high, low, _residual = split(x)
    else:
        norm, factor, lift = load_bounds(row_bounds_ptr, n, live)
    parts_ptr += tl.program_id(0).to(tl.int64) * (BLOCK_N * PADDED_D * (1 if ONE_PART else 2))
    extra = extra_columns(norm, factor, lift, EXTRA)

    best, best_tile, second = best_groups(
        tiles, high, low, extra, parts_ptr, split_ptr, extra_ptr, ONE_PART, PADDED_D, BLOCK_D, BLOCK_K, EXTRA,
        False,
    )  # fmt: skip
    lowest, slot = first_least(best)
    n = after(slot >= 0, n)
    rows = row_pointers(x_ptr, n, N, S, stride_xb, stride_xs)
    if PADDED_D > BLOCK_D:
        norm, factor, lift = load_bounds(row_bounds_ptr, n, n < N)
    return certified_index(
        best, best_tile, second, lowest, slot, rows, norm, factor, lift, high, low, extra,
        parts_ptr, split_ptr, extra_ptr, bounds_ptr, codes_ptr, K, D, tiles, stride_xd,
        EUCLIDEAN, ONE_PART, PADDED_D, BLOCK_D, BLOCK_K, GROUP_STEPS, EXTRA,
    )  # fmt: skip


@triton.jit
def first_least(best):
    """Least of each row of [BLOCK_N, SLOTS], and the first place that holds it."""
    SLOTS: tl.constexpr = best.shape[1]
    lowest = tl.min(best, 1)
    return lowest, tl.min(tl.where(best <= lowest[:, None], tl.arange(0, SLOTS)[None, :], SLOTS - 1), 1)


@triton.jit
def certified_index(
    best, best_tile, second, lowest, slot, rows, norm, factor, lift, high, low, extra,
    parts_ptr, split_ptr, extra_ptr, bounds_ptr, codes_ptr, K, D, tiles, stride_xd,
    EUCLIDEAN: tl.constexpr, ONE_PART: tl.constexpr, PADDED_D: tl.constexpr, BLOCK_D: tl.constexpr,
    BLOCK_K: tl.constexpr, GROUP_STEPS: tl.constexpr, EXTRA: tl.constexpr,
):  # fmt: skip
    """Steps 2 and 3, from what `best_groups` found: the index, -1 where `norm` is NaN."""
    # rows: where the raw rows start, [BLOCK_N] pointers; or the rows themselves (rows_on_chip.py), and then stride_xd
    # is that of codes
    ON_CHIP: tl.constexpr = len(rows.shape) == 3
    BLOCK_N: tl.constexpr = best.shape[0]
    SLOTS: tl.constexpr = best.shape[1]
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
    reach = tl.maximum(reach, 0.0)
    finite = norm >= 0.0
    reach = tl.where(finite, reach, -FAR)

    distance = tl.full([BLOCK_N], FAR, tl.float32)
    index = tl.full([BLOCK_N], NO_INDEX, tl.int32)
    pending = ((best <= reach[:, None]) | (place == slot[:, None])) & finite[:, None]
    distance, index = rescan_reached(
        pending, best_tile, distance, index, rows, codes_ptr, K, D, stride_xd, EUCLIDEAN, BLOCK_K, GROUP_STEPS
    )
    open_row = tl.min(second, 1) <= reach
    if tl.max(open_row.to(tl.int32)[:, None]) > 0:
        for tile in tl.range(tiles, num_stages=1):
            least = group_minima(
                tile, high, low, extra, parts_ptr, split_ptr, extra_ptr, ONE_PART, PADDED_D, BLOCK_D, BLOCK_K, EXTRA,
                ON_CHIP,
            )  # fmt: skip
            pending = (tl.reshape(least, [BLOCK_N, SLOTS]).to(tl.float32, bitcast=True) <= reach[:, None]) & open_row[
                :, None
            ]
            distance, index = rescan_reached(
                pending, tl.full([BLOCK_N, SLOTS], tile, tl.int32), distance, index, rows, codes_ptr, K, D, stride_xd,
                EUCLIDEAN, BLOCK_K, GROUP_STEPS,
            )  # fmt: skip
    return tl.where(finite, tl.minimum(index, K - 1), -1)
