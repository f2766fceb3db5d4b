"""How the Gaussian kernels cut [B, S, D] views into programs, and what a program reads and writes where.

A program has a tile of about 2048 elements of rows of D. Tensors that are contiguous, or whose two leading axes merge,
are read as fewer and longer rows. Noise is drawn for four elements at a time, so a tile starts at an element whose
number is a multiple of 4: before its row where D is no such multiple.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

TILE = 2048
NARROW = 2**31 - 2**24  # offsets below are int32, those of the last tile's empty part included


@triton.jit
def tile(
    R, D, blocks_d, WIDE: tl.constexpr, UNIT: tl.constexpr, FULL: tl.constexpr, BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Of this program: rows [R], columns [R or 1, C], what lies inside, element numbers, and those over 4 [R, C / 4].

    int64 where WIDE: offsets may pass 2^31. D is a multiple of UNIT. FULL: every tile lies inside, which the compiler
    then knows.
    """
    block = tl.program_id(0)
    first, start = block // blocks_d, block % blocks_d
    if WIDE:
        first, start = first.to(tl.int64), start.to(tl.int64)
    start *= BLOCK_D
    row = first * BLOCK_R + tl.arange(0, BLOCK_R)
    column = (start + tl.arange(0, BLOCK_D))[None, :]
    D = D // UNIT * UNIT  # which tells the compiler
    head = row * D
    inside = (row < R)[:, None] & (column < D)
    quad = (head + start) >> 2
    if UNIT == 1:
        column -= (head & 3)[:, None]
        inside = (row < R)[:, None] & (column < D) & (column >= 0)
        quad = (head >> 2) + (start >> 2)
    if FULL:
        inside = tl.full([BLOCK_R, BLOCK_D], 1, tl.int1)
    return row, column, inside, head[:, None] + column, quad[:, None] + tl.arange(0, BLOCK_D // 4)[None, :]


@triton.jit
def places(pointer, row, column, S, stride_b, stride_s, stride_d, ALIGN: tl.constexpr):
    """Where rows and columns of a strided [B, S, D] view lie. ALIGN: bytes, of each UNIT."""
    base = row // S * stride_b + row % S * stride_s
    pointers = pointer + (base[:, None] + column * stride_d)
    if ALIGN > 1:
        pointers = tl.multiple_of(pointers, (1, ALIGN))
    return pointers


@triton.jit
def load(pointer, row, column, inside, S, stride_b, stride_s, stride_d, ALIGN: tl.constexpr):
    """Rows and columns of a strided [B, S, D] view, as fp32; anything at all outside."""
    return tl.load(places(pointer, row, column, S, stride_b, stride_s, stride_d, ALIGN), mask=inside).to(tl.float32)


@triton.jit
def store_kl(
    kl_ptr, doubled, row, element, inside, R, blocks_d, free_bits, FREE_BITS: tl.constexpr, REDUCTION: tl.constexpr,
    FULL: tl.constexpr,
):  # fmt: skip
    """Half of u² + h: per element, as one partial sum per row and program, or as one per program."""
    if FREE_BITS:
        doubled = tl.where(doubled < 2.0 * free_bits, 2.0 * free_bits, doubled)
    if REDUCTION == "none":
        tl.store(kl_ptr + element, 0.5 * doubled, mask=inside)
    elif REDUCTION == "latent":
        total = 0.5 * tl.sum(tl.where(inside, doubled, 0.0), 1)
        live = tl.full([row.shape[0]], 1, tl.int1) if FULL else row < R
        tl.store(kl_ptr + row * blocks_d + tl.program_id(0) % blocks_d, total, mask=live)
    else:
        tl.store(kl_ptr + tl.program_id(0), 0.5 * tl.sum(tl.where(inside, doubled, 0.0)))


class Cut(NamedTuple):
    """How views of one shape are cut into programs: a pure function of shape, strides and alignment."""

    rows: int
    length: int  # rows of a sample: row r lies at stride_b·(r // length) + stride_s·(r % length)
    dimension: int
    blocks_d: int
    programs: int
    strides: tuple[int, ...]  # three of each tensor, 0 of one that is absent
    constants: dict[str, Any]


def cut(tensors: Sequence[torch.Tensor | None], per_sample: bool = False, per_row: bool = False) -> Cut:
    """Cut [B, S, D] views. per_row: a row's sum is asked for; per_sample: a row's sample must be known."""
    given = [tensor for tensor in tensors if tensor is not None]
    batch, length, dimension = given[0].shape
    strides = [tensor.stride() for tensor in given]
    if not (per_row or per_sample) and all(tensor.is_contiguous() for tensor in given):
        batch, length, dimension = 1, 1, given[0].numel()
        strides = [(dimension, dimension, 1)] * len(given)
    elif length > 1 and not per_sample and all(b == length * s for b, s, _ in strides):
        batch, length = batch * length, 1
        strides = [(s, s, d) for _, s, d in strides]
    rows = batch * length
    unit = 8 if dimension % 8 == 0 else 4 if dimension % 4 == 0 else 1
    block_r, block_d = _tile_shape(dimension, unit)
    blocks_d = triton.cdiv(dimension if unit > 1 else dimension + 3, block_d)
    furthest = [(batch - 1) * b + (length - 1) * s + (dimension - 1) * d for b, s, d in strides]
    constants = {
        "WIDE": max(*furthest, rows * dimension) >= NARROW,
        "UNIT": unit,
        "FULL": unit > 1 and rows % block_r == 0 and dimension % block_d == 0,
        "ALIGN": min(_alignment(*each, batch, length, unit) for each in zip(given, strides, strict=True)),
        "BLOCK_R": block_r,
        "BLOCK_D": block_d,
    }
    found = iter(strides)
    flat = tuple(size for tensor in tensors for size in ((0, 0, 0) if tensor is None else next(found)))
    return Cut(rows, length, dimension, blocks_d, triton.cdiv(rows, block_r) * blocks_d, flat, constants)


def warps(form: Cut, noise: bool, prior: bool) -> int:
    """Two for noise alone, as more elements a thread share its addresses; four where that many would spill."""
    return 2 if noise and not prior and form.constants["UNIT"] > 1 else 4


def _tile_shape(dimension: int, unit: int) -> tuple[int, int]:
    """Rows and columns, as wide as leaves at most a fifth of the last tile in a row empty."""
    reach = dimension if unit > 1 else dimension + 3
    widths = (2048, 1024, 512, 256, 128, 64, 32, 16)
    block_d = next((w for w in widths if triton.cdiv(reach, w) * w <= 1.25 * reach), 8)
    return TILE // block_d, block_d


def _alignment(tensor: torch.Tensor, strides: tuple[int, ...], batch: int, length: int, unit: int) -> int:
    """Bytes, up to 16, that divide the address of each unit of a row; 1 where its elements are not neighbours."""
    b, s, d = strides
    if d != 1:
        return 1
    size = tensor.element_size()
    together = tensor.data_ptr() | unit * size | (b * size if batch > 1 else 0) | (s * size if length > 1 else 0) | 16
    return together & -together


def new_kl(mean: torch.Tensor, form: Cut, reduction: str) -> torch.Tensor:
    """What the kernels write: a KL per element, per row and program, or per program; fp32."""
    shapes = {"none": mean.shape, "latent": (form.rows, form.blocks_d), "batch": (form.programs,)}
    return mean.new_empty(shapes[reduction], dtype=torch.float32)


def summed(kl: torch.Tensor, batch: int, reduction: str) -> torch.Tensor:
    """Partial sums joined: [B] for "latent", [] for "batch", the elements as they are for "none"."""
    if reduction == "none":
        return kl
    if reduction == "batch":
        return kl.sum()
    return kl.view(batch, -1).sum(1) if kl.numel() else kl.new_zeros(batch)


def bounds(clamp: list[float] | None) -> dict[str, float | bool]:
    lo, hi = clamp or (0.0, 0.0)
    return {"lo": lo, "hi": hi, "CLAMP": clamp is not None}


def priors(
    mean: torch.Tensor, prior_mean: torch.Tensor | None, prior_logvar: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The prior's tensors; the kernel never reads what stands in for absent ones."""
    return (mean, mean) if prior_mean is None or prior_logvar is None else (prior_mean, prior_logvar)
