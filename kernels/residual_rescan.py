"""The rescan of the certified search: codes that may be nearest, again, exactly.

    distance = Σ_d (x - c)²   (euclidean; -x·c for cosine and dot)   in fp32, from the raw rows and codes

The least (distance, index) wins, so ties fall to the lowest index. Codes are padded with zeros to whole steps of 16
bytes. Reference: aevae_fast/reference.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .residual_codebook import CODE_STEP
from .rows_on_chip import ROW, load_codes, sum_of_rows
from .residual_rows import FAR

NO_INDEX = tl.constexpr(2147483647)


@triton.jit
def _rescan_group(
    rows, active, tile, slot, codes_ptr, K, D, stride_xd,
    EUCLIDEAN: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_STEPS: tl.constexpr,
):  # fmt: skip
    """Least (distance, index) among the codes of one group per row, directly and in fp32; FAR where not active."""
    BLOCK_N: tl.constexpr = rows.shape[0]
    STEP: tl.constexpr = CODE_STEP  # at a time; 32 spill
    member = tl.arange(0, 2 * GROUP_STEPS)
    column = (slot // 4) * (8 * GROUP_STEPS) + (slot % 4) * 2
    code = (tile * BLOCK_K + column)[:, None] + ((member // 2) * 8 + member % 2)[None, :]
    real = active[:, None] & (code < K)
    base = codes_ptr + code.to(tl.int64) * ((D + STEP - 1) // STEP * STEP)
    total = tl.zeros([BLOCK_N, 2 * GROUP_STEPS, STEP], tl.float32)
    for start in range(0, D, STEP):
        d = start + tl.arange(0, STEP)
        x = tl.load(rows[:, None] + d.to(tl.int64)[None, :] * stride_xd,
                    mask=active[:, None] & (d < D)[None, :], other=0.0).to(tl.float32)  # fmt: skip
        c = tl.load(base[:, :, None] + d[None, None, :], mask=real[:, :, None], other=0.0)
        if EUCLIDEAN:
            difference = x[:, None, :] - c
            total += difference * difference
        else:
            total -= x[:, None, :] * c
    distance = tl.where(real, tl.sum(total, 2), FAR)
    least = tl.min(distance, 1)
    return least, tl.min(tl.where(real & (distance <= least[:, None]), code, NO_INDEX), 1)


@triton.jit
def _rescan_group_on_chip(
    rows, active, tile, slot, codes_ptr, K, STRIDE: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_STEPS: tl.constexpr
):  # fmt: skip
    """The same, euclidean, of rows that no memory holds (rows_on_chip.py). A code at a time."""
    first = tile * BLOCK_K + (slot // 4) * (8 * GROUP_STEPS) + (slot % 4) * 2
    least = tl.full([active.shape[0]], FAR, tl.float32)
    index = tl.full([active.shape[0]], NO_INDEX, tl.int32)
    for member in tl.range(0, 2 * GROUP_STEPS, num_stages=1):
        code = first + (member // 2) * 8 + member % 2
        real = active & (code < K)
        difference = rows - load_codes(codes_ptr, code, real, STRIDE, rows.shape[1 - ROW], rows.shape[2])
        distance = sum_of_rows(difference * difference)
        better = real & (distance < least)
        least = tl.where(better, distance, least)
        index = tl.where(better, code, index)
    return least, index


@triton.jit
def rescan_reached(
    pending, tiles, distance, index, rows, codes_ptr, K, D, stride_xd,
    EUCLIDEAN: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_STEPS: tl.constexpr,
):  # fmt: skip
    """Rescan every pending group of each row, one a pass; keeps the least (distance, index)."""
    # pending :: [BLOCK_N, SLOTS] int1   tiles :: [BLOCK_N, SLOTS] int32
    # rows: where they start, [BLOCK_N] pointers; or themselves (rows_on_chip.py), with stride_xd that of codes
    SLOTS: tl.constexpr = pending.shape[1]
    place = tl.arange(0, SLOTS)[None, :]
    slot = tl.min(tl.where(pending, place, SLOTS), 1)
    left = tl.min(slot[:, None])  # of a column: of rows alone, Triton 3.6 fails on sm_100
    while left < SLOTS:
        tile = tl.sum(tl.where(place == slot[:, None], tiles, 0), 1)
        if len(rows.shape) == 3:
            found, code = _rescan_group_on_chip(
                rows, slot < SLOTS, tile, slot, codes_ptr, K, stride_xd, BLOCK_K, GROUP_STEPS
            )
        else:
            found, code = _rescan_group(
                rows, slot < SLOTS, tile, slot, codes_ptr, K, D, stride_xd, EUCLIDEAN, BLOCK_K, GROUP_STEPS
            )
        better = (found < distance) | ((found == distance) & (code < index))
        distance = tl.where(better, found, distance)
        index = tl.where(better, code, index)
        pending = pending & (place > slot[:, None])
        slot = tl.min(tl.where(pending, place, SLOTS), 1)
        left = tl.min(slot[:, None])
    return distance, index
