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

FAR = tl.constexpr(float("inf"))
LARGEST_LIFT = tl.constexpr(1e36)
NO_INDEX = tl.constexpr(2147483647)
# The interpreter keeps bf16 as bit patterns and multiplies those; there the same numbers go through an fp32 product.
INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))


@triton.jit
def row_pointers(x_ptr, n, N, S, stride_b, stride_s):
    """Where rows n of a strided [B, S, D] view with N rows start; n is int64, as offsets may pass 2^31."""
    # Divided in N's own type: a 64-bit division is a call, around which registers spill.
    short = n.to((tl.full([1], 0, tl.int32) + N).dtype)
    return x_ptr + (short // S).to(tl.int64) * stride_b + (short % S).to(tl.int64) * stride_s


@triton.jit
def split(value):
    """value = high + low + residual, the first two bf16."""
    high = value.to(tl.bfloat16)
    rest = value - high.to(tl.float32)
    low = rest.to(tl.bfloat16)
    return high, low, rest - low.to(tl.float32)


@triton.jit
def load_rows(rows, live, d, D, stride_xd, shift_ptr, SHIFT_ROWS: tl.constexpr):
    """x - shift of a block of rows and dimensions, fp32; and per row how many entries are not finite."""
    inside = live[:, None] & (d < D)[None, :]
    x = tl.load(rows[:, None] + d.to(tl.int64)[None, :] * stride_xd, mask=inside, other=0.0).to(tl.float32)
    bad = tl.sum(tl.where(tl.abs(x) < FAR, 0, 1), 1)
    if SHIFT_ROWS:
        shift = tl.load(shift_ptr + d, mask=d < D, other=0.0)
        x = tl.where(inside, x - shift[None, :], 0.0)
    return x, bad


@triton.jit
def _row_bounds(
    rows, live, shift_ptr, largest_ptr, D, stride_xd, kappa,
    METRIC: tl.constexpr, SHIFT_ROWS: tl.constexpr, ONE_PART: tl.constexpr, PADDED_D: tl.constexpr,
):  # fmt: skip
    """Norm of the rows, factor that bounds the error per ‖c‖, constant that lifts scores above 0, who is finite."""
    square = tl.zeros([rows.shape[0]], tl.float32)
    centred_square = tl.zeros([rows.shape[0]], tl.float32)
    low_square = tl.zeros([rows.shape[0]], tl.float32)
    residual_square = tl.zeros([rows.shape[0]], tl.float32)
    bad = tl.zeros([rows.shape[0]], tl.int32)
    STEP: tl.constexpr = min(PADDED_D, 32)
    for start in range(0, PADDED_D, STEP):
        d = start + tl.arange(0, STEP)
        x, bad_here = load_rows(rows, live, d, D, stride_xd, shift_ptr, SHIFT_ROWS)
        bad += bad_here
        square += tl.sum(x * x, 1)
        if METRIC == "euclidean" and not SHIFT_ROWS:
            centred = x - tl.load(shift_ptr + d, mask=d < D, other=0.0)[None, :]
            centred_square += tl.sum(tl.where(live[:, None], centred * centred, 0.0), 1)
        if not ONE_PART:
            _high, low, residual = split(x)
            low = low.to(tl.float32)
            low_square += tl.sum(low * low, 1)
            residual_square += tl.sum(residual * residual, 1)
    norm = tl.sqrt(square)
    factor = kappa * norm
    if not ONE_PART:
        factor += tl.sqrt(residual_square) + tl.sqrt(low_square) * (2.04 / 256)
    if METRIC == "euclidean" and not SHIFT_ROWS:
        square = centred_square
    lift = tl.sqrt(square) * tl.load(largest_ptr)
    if METRIC == "euclidean":
        lift = tl.minimum(lift, 0.5 * square)
    # Any lift is right, as bounds below 0 are all in reach; a finite one keeps codes that overflow from making NaNs.
    lift = tl.minimum(lift, LARGEST_LIFT)
    return norm, factor, lift, (bad == 0) & live


@triton.jit
def _extra_columns(norm, factor, lift, EXTRA: tl.constexpr):
    """The rows' side of the bias and bound columns: 1, 1, 1, factor, norm, 1, lift."""
    up = 1.0 + 1.0 / 64
    column = tl.arange(0, EXTRA)[None, :]
    value = tl.where((column < 3) | (column == 5), 1.0, 0.0)
    value = tl.where(column == 3, up * factor[:, None], value)
    value = tl.where(column == 4, up * norm[:, None], value)
    value = tl.where(column == 6, up * lift[:, None], value)
    return value.to(tl.bfloat16)


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
def _group_minima(
    tile, high, low, extra, parts_ptr, split_ptr, extra_ptr,
    ONE_PART: tl.constexpr, PADDED_D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_K: tl.constexpr, EXTRA: tl.constexpr,
):  # fmt: skip
    """Least lower bound of each group of a tile of codes, its bits as int32: [BLOCK_N, BLOCK_K / 32, 4]."""
    k = tl.arange(0, BLOCK_K)[:, None]
    code_extra = tl.load(extra_ptr + tile * (BLOCK_K * EXTRA) + (k * EXTRA + tl.arange(0, EXTRA)[None, :]))
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
def _rescan_group(
    rows, active, tile, slot, codes_ptr, K, D, stride_xd,
    METRIC: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_STEPS: tl.constexpr,
):  # fmt: skip
    """Least (distance, index) among the codes of one group per row, directly and in fp32; FAR where not active."""
    BLOCK_N: tl.constexpr = rows.shape[0]
    STEP: tl.constexpr = 4  # 16 bytes of a code at a time; 32 spill
    member = tl.arange(0, 2 * GROUP_STEPS)
    column = (slot // 4) * (8 * GROUP_STEPS) + (slot % 4) * 2
    code = (tile * BLOCK_K + column)[:, None] + ((member // 2) * 8 + member % 2)[None, :]
    real = active[:, None] & (code < K)
    base = codes_ptr + code.to(tl.int64) * D
    total = tl.zeros([BLOCK_N, 2 * GROUP_STEPS, STEP], tl.float32)
    for start in range(0, D, STEP):
        d = start + tl.arange(0, STEP)
        inside = d < D
        x = tl.load(rows[:, None] + d.to(tl.int64)[None, :] * stride_xd,
                    mask=active[:, None] & inside[None, :], other=0.0).to(tl.float32)  # fmt: skip
        c = tl.load(base[:, :, None] + d[None, None, :], mask=real[:, :, None] & inside[None, None, :], other=0.0)
        if METRIC == "euclidean":
            difference = x[:, None, :] - c
            total += difference * difference
        else:
            total -= x[:, None, :] * c
    distance = tl.where(real, tl.sum(total, 2), FAR)
    least = tl.min(distance, 1)
    return least, tl.min(tl.where(real & (distance <= least[:, None]), code, NO_INDEX), 1)


@triton.jit
def _rescan_reached(
    pending, tiles, distance, index, rows, codes_ptr, K, D, stride_xd,
    METRIC: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_STEPS: tl.constexpr,
):  # fmt: skip
    """Rescan every pending group of each row, one a pass; keeps the least (distance, index)."""
    # pending :: [BLOCK_N, SLOTS] int1   tiles :: [BLOCK_N, SLOTS] int32
    SLOTS: tl.constexpr = pending.shape[1]
    place = tl.arange(0, SLOTS)[None, :]
    slot = tl.min(tl.where(pending, place, SLOTS), 1)
    left = tl.min(slot, 0)
    while left < SLOTS:
        tile = tl.sum(tl.where(place == slot[:, None], tiles, 0), 1)
        found, code = _rescan_group(
            rows, slot < SLOTS, tile, slot, codes_ptr, K, D, stride_xd, METRIC, BLOCK_K, GROUP_STEPS
        )
        better = (found < distance) | ((found == distance) & (code < index))
        distance = tl.where(better, found, distance)
        index = tl.where(better, code, index)
        pending = pending & (place > slot[:, None])
        slot = tl.min(tl.where(pending, place, SLOTS), 1)
        left = tl.min(slot, 0)
    return distance, index


@triton.jit
def search_block(
    rows, parts_ptr, live, split_ptr, extra_ptr, bounds_ptr, largest_ptr, codes_ptr, shift_ptr,
    K, D, tiles, stride_xd, kappa,
    METRIC: tl.constexpr, ONE_PART: tl.constexpr, SHIFT_ROWS: tl.constexpr, PADDED_D: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_STEPS: tl.constexpr, EXTRA: tl.constexpr,
):  # fmt: skip
    """Nearest code of each row of a block, int32; -1 where the row is not live or not finite."""
    BLOCK_N: tl.constexpr = rows.shape[0]
    GROUPS: tl.constexpr = BLOCK_K // (8 * GROUP_STEPS)
    SLOTS: tl.constexpr = 4 * GROUPS
    norm, factor, lift, finite = _row_bounds(
        rows, live, shift_ptr, largest_ptr, D, stride_xd, kappa, METRIC, SHIFT_ROWS, ONE_PART, PADDED_D
    )
    parts_ptr += tl.program_id(0).to(tl.int64) * (BLOCK_N * PADDED_D * (1 if ONE_PART else 2))
    extra = _extra_columns(norm, factor, lift, EXTRA)
    high, low = extra, extra
    if PADDED_D == BLOCK_D:
        x, _bad = load_rows(rows, live, tl.arange(0, BLOCK_D), D, stride_xd, shift_ptr, SHIFT_ROWS)
        high, low, _residual = split(x)

    best = tl.full([BLOCK_N, GROUPS, 4], FAR, tl.float32).to(tl.int32, bitcast=True)
    second = tl.min(best, 1)
    best_tile = tl.zeros([BLOCK_N, GROUPS, 4], tl.int32)
    for tile in range(tiles):
        least = _group_minima(
            tile, high, low, extra, parts_ptr, split_ptr, extra_ptr, ONE_PART, PADDED_D, BLOCK_D, BLOCK_K, EXTRA
        )
        second = tl.minimum(second, tl.min(tl.maximum(best, least), 1))
        best_tile = tl.where(least < best, tile, best_tile)
        best = tl.minimum(best, least)

    best = tl.reshape(best, [BLOCK_N, SLOTS]).to(tl.float32, bitcast=True)
    second = second.to(tl.float32, bitcast=True)
    best_tile = tl.reshape(best_tile, [BLOCK_N, SLOTS])
    place = tl.arange(0, SLOTS)[None, :]
    lowest = tl.min(best, 1)
    slot = tl.min(tl.where(best <= lowest[:, None], place, SLOTS - 1), 1)
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
    reach = tl.where(finite, reach, -FAR)

    distance = tl.full([BLOCK_N], FAR, tl.float32)
    index = tl.full([BLOCK_N], NO_INDEX, tl.int32)
    pending = ((best <= reach[:, None]) | (place == slot[:, None])) & finite[:, None]
    distance, index = _rescan_reached(
        pending, best_tile, distance, index, rows, codes_ptr, K, D, stride_xd, METRIC, BLOCK_K, GROUP_STEPS
    )
    open_row = tl.min(second, 1) <= reach
    if tl.max(open_row.to(tl.int32), 0) > 0:
        for tile in tl.range(tiles, num_stages=1):
            least = _group_minima(
                tile, high, low, extra, parts_ptr, split_ptr, extra_ptr, ONE_PART, PADDED_D, BLOCK_D, BLOCK_K, EXTRA
            )
            pending = (tl.reshape(least, [BLOCK_N, SLOTS]).to(tl.float32, bitcast=True) <= reach[:, None]) & open_row[
                :, None
            ]
            distance, index = _rescan_reached(
                pending, tl.full([BLOCK_N, SLOTS], tile, tl.int32), distance, index, rows, codes_ptr, K, D, stride_xd,
                METRIC, BLOCK_K, GROUP_STEPS,
            )  # fmt: skip
    return tl.where(finite, tl.minimum(index, K - 1), -1)
