"""The search for nearest codes up to what is settled exactly: sweeps of all rows, then of those that stay open.

The codebook is made ready (code_columns.py) and a sweep on tensor cores certifies rows (sweep.py). Where D is 33 to 64
what one part leaves open is listed and swept again in three parts; above, what it leaves wide is narrowed down
(narrow.py). x is read in place through its strides; the [N, K] matrix of distances is never built, nor a permuted copy
of x. Input fp16, bf16 or fp32; codebook fp32; fp16 products with fp32 accumulation. Reference: aevae_fast/reference.

Bytes: N·D·b and 8·N once, K·D·(4 + 2 + 2) for the codebook, and each block of rows reads the columns of all codes, 2
bytes each, from the cache. Scratch: the columns, K·(2·D + 32) bytes (up to D = 32 K·8·D; twice as many where a second
sweep adds low parts and bounds of its own), 4·N for a list of rows, bits of those that are narrowed, and 2·N·D of parts
where rows stay in memory (split_rows.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

from .code_columns import EXTRA, code_columns
from .configuration import SearchConfig, architecture, search_config, splits_of
from .entries import is_wide
from .narrow import narrow, waves_of
from .operands import Operands, operands
from .row_columns import ORDINARY, extra_columns, packed_bounds, row_columns, row_parts, unpacked_bounds
from .rows import after, row_pointers
from .settle import CODES, dimensions_of, registers_of, rows_of
from .split_rows import load_bounds
from .sweep import UNREACHED, apart_scores, kept_so_far, tile_scores, verdict

# Rows that a sweep lists: none; all that are open; wide ones. Or it takes those listed, again.
NO_LIST, OPEN, WIDE, AGAIN = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2), tl.constexpr(3)
# Fewer open rows than these are settled before one block of them has met all codes a second time.
FEW = 4096


@triton.jit(do_not_specialize=["few", "tiles", "K", "tile_mask", "group_bits", "each"])
def _sweep_kernel(
    x_ptr, parts_ptr, row_bounds_ptr, main, extra, low, bounds_ptr, extremes_ptr, shift_ptr,
    entry_ptr, lowest_ptr, reach_ptr, open_ptr, list_ptr,
    N, S, K, D, few, tiles, each, programs, tile_mask, group_bits, stride_xb, stride_xs, stride_xd, kappa,
    METRIC: tl.constexpr, PARTS: tl.constexpr, SEGMENT: tl.constexpr, COLUMNS: tl.constexpr, BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr, INLINE: tl.constexpr, LANES: tl.constexpr, GROUP_STEPS: tl.constexpr,
    EXTRA: tl.constexpr, DESCRIPTORS: tl.constexpr, SPLIT: tl.constexpr,
    LISTS: tl.constexpr, AT_ONCE: tl.constexpr, ENTRY_SLOTS: tl.constexpr, PTX: tl.constexpr,
):  # fmt: skip
    # x :: [B, S, D] fp16|bf16|fp32   parts :: [N_pad, COLUMNS] fp16   main, low (AGAIN) :: [K_pad, COLUMNS] fp16, extra
    # :: [K_pad, EXTRA] fp16, or descriptors of tiles of them   entry :: [splits, B·S] int64   lowest, reach :: [splits,
    # B·S] fp32 (SPLIT)   open :: [1] int32   list :: [B·S] int32: how many rows, and which, are open
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    live = n < N
    if LISTS == AGAIN:
        count = tl.load(open_ptr)
        if (tl.program_id(0) * BLOCK_N >= count) | (count < few):  # few stay as the first sweep left them
            return
        live = n < count
        n = tl.load(list_ptr + n, mask=live, other=0).to(tl.int64)
    if LISTS == AGAIN:
        rows = row_pointers(x_ptr, n, N, S, stride_xb, stride_xs)
        x, x_low, norm, factor, lift, state = row_parts(
            rows, live, shift_ptr, extremes_ptr, programs, D, stride_xd, kappa, METRIC, SEGMENT, AT_ONCE
        )
    elif COLUMNS == BLOCK_D:
        rows = row_pointers(x_ptr, n, N, S, stride_xb, stride_xs)
        x, norm, factor, lift, state = row_columns(
            rows, live, shift_ptr, extremes_ptr, programs, D, stride_xd, kappa, METRIC, PARTS, SEGMENT, COLUMNS, INLINE,
            AT_ONCE,
        )  # fmt: skip
    else:
        norm, factor, lift, state = load_bounds(row_bounds_ptr, n, live)
        parts_ptr += tl.program_id(0).to(tl.int64) * (BLOCK_N * COLUMNS)
        x = tl.arange(0, BLOCK_N)[:, None] * COLUMNS
    x_extra = None
    if not INLINE:
        x_extra = extra_columns(norm, factor, lift, EXTRA)

    entry_ptr += tl.program_id(1).to(tl.int64) * N
    tl.store(entry_ptr + n, packed_bounds(norm, factor, lift, state), mask=live)

    BLOCKS: tl.constexpr = BLOCK_K // (8 * GROUP_STEPS)
    best = tl.full([BLOCK_N, BLOCKS, LANES], UNREACHED, tl.int32)
    second = tl.full([BLOCK_N, LANES], UNREACHED, tl.int32)
    member = tl.full([BLOCK_N, 8 * GROUP_STEPS], UNREACHED, tl.int32)
    first = tl.program_id(1) * each
    for tile in range(first, tl.minimum(first + each, tiles)):
        if LISTS == AGAIN:
            score = apart_scores(x, x_low, x_extra, main, low, extra, tile, BLOCK_N, BLOCK_K)
        else:
            score = tile_scores(
                x, x_extra, parts_ptr, main, extra, tile, COLUMNS, BLOCK_N, BLOCK_K, BLOCK_D, INLINE, EXTRA, DESCRIPTORS
            )
        best, second, member = kept_so_far(best, second, member, score, tile, tile_mask, GROUP_STEPS, PTX)

    # Entries are this program's own, but other threads of it stored them, and will overwrite them. What lies beyond N
    # reads as a row of zeros, and is not stored.
    tl.debug_barrier()
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    n = after(tl.min(tl.min(best, 2), 1) <= UNREACHED, n)  # minima start there
    live = n < N
    if LISTS == AGAIN:
        live = n < count
        n = tl.load(list_ptr + n, mask=live, other=0).to(tl.int64)
    norm, factor, lift, state = unpacked_bounds(tl.load(entry_ptr + n, mask=live, other=0))
    tl.debug_barrier()
    entry, lowest, reach = verdict(
        best, second, member, norm, factor, lift, state, bounds_ptr, tile_mask, group_bits, K, BLOCK_K, GROUP_STEPS,
        ENTRY_SLOTS,
    )  # fmt: skip
    if (LISTS == OPEN) | (LISTS == WIDE):
        left = live & is_wide(entry)
        if LISTS == OPEN:
            left = live & (entry < -1) & (state == ORDINARY)
        here = left.to(tl.int32)
        # The one atomic of the search takes a stretch of the list for this program's rows. Which stretch changes
        # nothing: what becomes of a row does not depend on its place, nor on its neighbours.
        first = tl.atomic_add(open_ptr, tl.sum(here, 0), sem="relaxed")
        tl.store(list_ptr + first + tl.cumsum(here, 0) - 1, n.to(tl.int32), mask=left)
    tl.store(entry_ptr + n, entry, mask=live)
    if SPLIT:
        n += tl.program_id(1).to(tl.int64) * N
        tl.store(lowest_ptr + n, lowest, mask=live)
        tl.store(reach_ptr + n, reach, mask=live)


class Swept(NamedTuple):
    """What the sweep leaves to settle."""

    entry: torch.Tensor  # [splits, B·S] int64
    lowest: torch.Tensor  # [splits, B·S] float32, unread where there is one split
    reach: torch.Tensor
    codes: torch.Tensor  # [K, D] float32
    sizes: tuple[int, int, int]  # splits, tiles, bits of a group's number
    constants: dict[str, Any]


def sweep(
    x: torch.Tensor, codebook: torch.Tensor, metric: str, indices: torch.Tensor, config: SearchConfig | None = None
) -> Swept:
    """Certified codes and open entries of x [B, S, D]; they are left in `indices` [B, S] int64 where they fit there."""
    total = indices.numel()
    config = config or search_config(x.shape[2], architecture(x.device))
    tiles = triton.cdiv(len(codebook), config.block_k)
    splits, each = splits_of(total, tiles, config, x.device)
    lists = _lists(x, len(codebook), splits, config)
    columns = code_columns(codebook, metric, config, again=bool(lists == OPEN))
    of = operands(x, columns, config, metric)
    entry, lowest = indices, columns.bounds
    if splits > 1:
        entry = indices.new_empty((splits, total))
        lowest = codebook.new_empty((splits, total))
    reach = torch.empty_like(lowest) if splits > 1 else lowest
    count = rows = columns.open_rows
    if lists != NO_LIST:
        rows = indices.new_empty(total, dtype=torch.int32)
    _launch(x, metric, config, of, (splits, each), entry, lowest, reach, len(codebook), count, rows, lists)
    if lists == OPEN:
        assert config.again is not None
        assert columns.again is not None
        second = operands(x, columns.again, config.again, metric)
        second = second._replace(slots=of.slots, group_bits=of.group_bits)  # as settling reads all entries
        _launch(x, metric, config.again, second, (1, second.tiles), entry, lowest, reach, len(codebook), count, rows,
                AGAIN)  # fmt: skip
    constants = {
        "EUCLIDEAN": metric == "euclidean", "BLOCK_K": config.block_k, "LANES": config.lanes,
        "GROUP_STEPS": config.group_steps, "BLOCK_D": dimensions_of(x.shape[2]),
        "CODES": CODES, "num_warps": 4, "enable_fp_fusion": True,
    }  # fmt: skip
    if config.ptx:
        constants["maxnreg"] = registers_of(splits)
    if lists == WIDE:
        narrow(x, metric, config, of, entry, rows, len(codebook), constants)
    constants |= {"SPLITS": triton.next_power_of_2(splits), "ROWS": rows_of(total)}
    return Swept(entry, lowest, reach, columns.codes, (splits, tiles, of.group_bits), constants)


def dimensions_at_once(config: SearchConfig) -> int:
    """Of the rows of a block, as many as a thread has registers for: rows from anywhere take more addresses."""
    return 2 * config.num_warps if config.apart else 32


def _lists(x: torch.Tensor, size: int, splits: int, config: SearchConfig) -> tl.constexpr:
    # Rows are listed in 32 bits.
    if splits > 1 or x.shape[0] * x.shape[1] >= 2**31:
        return NO_LIST
    if config.again:
        return OPEN
    return WIDE if waves_of(x, size, config) else NO_LIST


def _launch(
    x: torch.Tensor, metric: str, config: SearchConfig, of: Operands, split: tuple[int, int], entry: torch.Tensor,
    lowest: torch.Tensor, reach: torch.Tensor, size: int, count: torch.Tensor, rows: torch.Tensor, lists: tl.constexpr,
) -> None:  # fmt: skip
    """One sweep: of all rows, or of those listed."""
    batch, length, dimension = x.shape
    columns = of.columns
    tile_mask = -1 << max(0, of.tiles - 1).bit_length()
    _sweep_kernel[(triton.cdiv(batch * length, config.block_n), split[0])](
        x, of.parts, of.row_bounds, of.main, of.extra, of.low, columns.bounds, columns.extremes, columns.shift, entry,
        lowest, reach, count, rows, batch * length, length, size, dimension, FEW, of.tiles, split[1],
        len(columns.extremes), tile_mask, of.group_bits, *x.stride(), columns.kappa,
        METRIC=metric, PARTS=config.parts, SEGMENT=config.segment, COLUMNS=config.columns, BLOCK_N=config.block_n,
        BLOCK_K=config.block_k, BLOCK_D=config.block_d, INLINE=config.inline, LANES=config.lanes,
        GROUP_STEPS=config.group_steps, EXTRA=EXTRA, DESCRIPTORS=config.descriptors, SPLIT=split[0] > 1,
        LISTS=lists, AT_ONCE=dimensions_at_once(config), ENTRY_SLOTS=of.slots, PTX=config.ptx,
        num_warps=config.num_warps, num_stages=config.num_stages, enable_fp_fusion=True,
    )  # fmt: skip
