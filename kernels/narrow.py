"""Wide rows narrowed down: the groups of codes within a row's reach, found by a second sweep, and compared exactly.

A first sweep (sweep.py) keeps one group a slot. A row where another lost its slot, or where more groups lie within
reach than a list holds, would be compared with those slots in every tile: thousands of codes, for a handful within
reach. But its reach is known now, and holds for every lower bound. So wide rows are swept once more, with the same
columns, and a bit is kept for each group that has a bound within it; then the codes of these groups are compared, as in
settle.py. Rows that reach much of the codebook, where many rows are wide, are left to what compares a block with all.

Scratch: a bit a group of wide rows, of a wave of rows at a time, so that it is at most a SHARE-th of x. How many rows
are wide stays on the device: programs without one return at once, and a wave without any costs two launches.
Reference: aevae_fast/reference.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from .code_columns import EXTRA
from .configuration import NARROWED, SearchConfig
from .entries import ALL_CODES, code_of, reach_bits
from .operands import Operands
from .row_columns import extra_columns, row_columns
from .rows import FAR, row_pointers
from .settle import NO_INDEX, compare_codes, least
from .split_rows import load_bounds
from .sweep import group_minima, tile_scores

# Tiles of a program, so that few rows still meet many programs.
TILES = 16
# Rows that would take more waves are not narrowed.
WAVES, SHARE = 8, 16
# A block of rows compared with all codes takes as long as the K-th part of these a row, one by one (settle.py): so many
# may be compared of all rows together.
CROWDED = tl.constexpr(12.0)
# Groups looked at together, and programs that take wide rows in turn.
GROUPS, PROGRAMS = 512, 4096


@triton.jit(do_not_specialize=["tiles", "each", "first"])
def _narrow_kernel(
    x_ptr, parts_ptr, row_bounds_ptr, main, extra, extremes_ptr, shift_ptr, entry_ptr, count_ptr, list_ptr, groups_ptr,
    N, S, D, tiles, each, first, programs, stride_xb, stride_xs, stride_xd, kappa,
    METRIC: tl.constexpr, SEGMENT: tl.constexpr, COLUMNS: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr, LANES: tl.constexpr, GROUP_STEPS: tl.constexpr, EXTRA: tl.constexpr,
    DESCRIPTORS: tl.constexpr,
):  # fmt: skip
    # x :: [B, S, D] fp16|bf16|fp32   parts, main, extra :: as in search.py   entry :: [B·S] int64
    # count :: [1] int32, list :: [B·S] int32: wide rows, of which this wave begins at `first`
    # groups :: [rows of a wave, tiles] uint8|int16: a bit for each slot of the tile
    place = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    count = tl.load(count_ptr) - first
    if tl.program_id(0) * BLOCK_N >= count:
        return
    live = place < count
    n = tl.load(list_ptr + first + place, mask=live, other=0).to(tl.int64)
    reach = reach_bits(tl.load(entry_ptr + n, mask=live, other=-1))
    if COLUMNS == BLOCK_D:
        rows = row_pointers(x_ptr, n, N, S, stride_xb, stride_xs)
        x, norm, factor, lift, _state = row_columns(
            rows, live, shift_ptr, extremes_ptr, programs, D, stride_xd, kappa, METRIC, 1, SEGMENT, COLUMNS, False,
            16,
        )  # fmt: skip
    else:
        norm, factor, lift, _state = load_bounds(row_bounds_ptr, n, live)
        x = n[:, None] * COLUMNS
    x_extra = extra_columns(norm, factor, lift, EXTRA)

    SLOTS: tl.constexpr = BLOCK_K // (8 // LANES * GROUP_STEPS)
    slot = tl.arange(0, SLOTS)[None, :]
    for tile in range(tl.program_id(1) * each, tl.minimum((tl.program_id(1) + 1) * each, tiles)):
        score = tile_scores(
            x, x_extra, parts_ptr, main, extra, tile, COLUMNS, BLOCK_N, BLOCK_K, BLOCK_D, False, EXTRA, DESCRIPTORS
        )
        # As integers, as in the sweep: what rounding took below 0 is below every reach here too.
        found = tl.reshape(group_minima(score.to(tl.int32, bitcast=True), LANES, GROUP_STEPS), [BLOCK_N, SLOTS])
        bits = tl.sum(tl.where(found <= reach[:, None], 1 << slot, 0), 1)
        tl.store(groups_ptr + place.to(tl.int64) * tiles + tile, bits.to(groups_ptr.dtype.element_ty), mask=live)


@triton.jit
def _within(groups_ptr, group, groups, SLOTS: tl.constexpr):
    """1 for each group that is within reach, else 0."""
    bits = tl.load(groups_ptr + group // SLOTS, mask=group < groups, other=0).to(tl.int32)
    return (bits >> (group % SLOTS)) & 1


@triton.jit
def _nearest_within(
    row, groups_ptr, groups, codes_ptr, K, D, stride_xd, EUCLIDEAN: tl.constexpr, BLOCK_K: tl.constexpr,
    LANES: tl.constexpr, GROUP_STEPS: tl.constexpr, BLOCK_D: tl.constexpr, GROUPS: tl.constexpr, CODES: tl.constexpr,
):  # fmt: skip
    """Nearest code of the row at `row` of the groups within its reach."""
    GROUP: tl.constexpr = 8 // LANES * GROUP_STEPS
    SLOTS: tl.constexpr = BLOCK_K // GROUP
    AT_ONCE: tl.constexpr = CODES // GROUP
    distance = tl.full([CODES], FAR, tl.float32)
    index = tl.full([CODES], NO_INDEX, tl.int32)
    lane = tl.arange(0, CODES)
    for start in range(0, groups, GROUPS):
        group = start + tl.arange(0, GROUPS)
        within = _within(groups_ptr, group, groups, SLOTS)
        rank = tl.where(within > 0, tl.cumsum(within, 0) - 1, -1)
        for done in range(0, tl.sum(within, 0), AT_ONCE):
            number = tl.zeros([CODES], tl.int32)  # of the group that a lane takes, plus 1
            for i in tl.static_range(AT_ONCE):
                at = tl.sum(tl.where(rank == done + i, group + 1, 0), 0)
                number = tl.where(lane // GROUP == i, at, number)
            code = code_of((number - 1) // SLOTS, (number - 1) % SLOTS, lane % GROUP, BLOCK_K, LANES, GROUP_STEPS)
            code = tl.where(number > 0, code, -1)
            distance, index = compare_codes(
                row, code, (code >= 0) & (code < K), distance, index, codes_ptr, D, stride_xd, EUCLIDEAN, BLOCK_D
            )
    return tl.minimum(least(distance, index), K - 1)


@triton.jit(do_not_specialize=["K", "tiles", "first", "wave"])
def _settle_wide_kernel(
    x_ptr, entry_ptr, count_ptr, list_ptr, groups_ptr, codes_ptr, N, S, K, D, tiles, first, wave,
    stride_xb, stride_xs, stride_xd, EUCLIDEAN: tl.constexpr, BLOCK_K: tl.constexpr, LANES: tl.constexpr,
    GROUP_STEPS: tl.constexpr, BLOCK_D: tl.constexpr, GROUPS: tl.constexpr, CODES: tl.constexpr,
):  # fmt: skip
    # As above; `wave` rows at most. entry: the code, or ALL_CODES of a row that reaches too many
    GROUP: tl.constexpr = 8 // LANES * GROUP_STEPS
    SLOTS: tl.constexpr = BLOCK_K // GROUP
    groups = tiles * SLOTS
    count = tl.minimum(tl.load(count_ptr) - first, wave)
    place = tl.program_id(0)
    while place < count:
        n = tl.load(list_ptr + first + place).to(tl.int64)
        bits = groups_ptr + place.to(tl.int64) * tiles
        total = tl.zeros([1], tl.int32)
        for start in range(0, groups, GROUPS):
            total += tl.sum(_within(bits, start + tl.arange(0, GROUPS), groups, SLOTS), 0)
        # By what no two runs differ in: how many rows are wide, not which are neighbours in the list.
        if tl.max(total, 0).to(tl.float32) * tl.load(count_ptr) * (GROUP * CROWDED) >= tl.cast(K, tl.float32) * N:
            tl.store(entry_ptr + n, ALL_CODES)
        else:
            code = _nearest_within(
                row_pointers(x_ptr, n, N, S, stride_xb, stride_xs), bits, groups, codes_ptr, K, D, stride_xd,
                EUCLIDEAN, BLOCK_K, LANES, GROUP_STEPS, BLOCK_D, GROUPS, CODES,
            )  # fmt: skip
            tl.store(entry_ptr + n, code.to(tl.int64))
        place += tl.num_programs(0)


def waves_of(x: torch.Tensor, size: int, config: SearchConfig) -> int:
    """In how many waves wide rows of x [B, S, D] are narrowed down, with so many codes; 0 where they are not: few or
    short codes are compared as they are."""
    if config.segment <= 64 or size < NARROWED:
        return 0
    row = triton.cdiv(size, config.block_k) * _bits(config).itemsize
    waves = triton.cdiv(row * SHARE, x.shape[2] * x.itemsize)
    return waves if waves <= WAVES else 0


def warps_of(config: SearchConfig) -> int:
    """Of the sweep: rows from anywhere take registers for their addresses, where they stay on the chip."""
    return max(8, config.num_warps) if config.descriptors else config.num_warps


def _bits(config: SearchConfig) -> torch.dtype:
    return torch.uint8 if config.slots <= 8 else torch.int16


def narrow(
    x: torch.Tensor, metric: str, config: SearchConfig, of: Operands, entry: torch.Tensor, rows: torch.Tensor,
    size: int, settling: dict[str, Any],
) -> None:  # fmt: skip
    """Codes of the wide rows of x [B, S, D], into `entry` [B, S] int64; `rows` [B·S] int32 lists them."""
    batch, length, dimension = x.shape
    total, columns = batch * length, of.columns
    wave = triton.cdiv(triton.cdiv(total, waves_of(x, size, config)), config.block_n) * config.block_n
    groups = torch.empty((wave, of.tiles), dtype=_bits(config), device=x.device)
    for first in range(0, total, wave):
        _narrow_kernel[(wave // config.block_n, triton.cdiv(of.tiles, TILES))](
            x, of.parts, of.row_bounds, of.main, of.extra, columns.extremes, columns.shift, entry, columns.open_rows,
            rows, groups, total, length, dimension, of.tiles, TILES, first, len(columns.extremes), *x.stride(),
            columns.kappa, METRIC=metric, SEGMENT=config.segment, COLUMNS=config.columns, BLOCK_N=config.block_n,
            BLOCK_K=config.block_k, BLOCK_D=config.block_d, LANES=config.lanes, GROUP_STEPS=config.group_steps,
            EXTRA=EXTRA, DESCRIPTORS=config.descriptors, num_warps=warps_of(config), num_stages=config.num_stages,
            enable_fp_fusion=True,
        )  # fmt: skip
        _settle_wide_kernel[(min(wave, PROGRAMS),)](
            x, entry, columns.open_rows, rows, groups, columns.codes, total, length, size, dimension, of.tiles, first,
            wave, *x.stride(), GROUPS=GROUPS, **settling,
        )  # fmt: skip
