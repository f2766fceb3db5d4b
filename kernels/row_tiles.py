"""How the elementwise kernels cut [B, S, D] views into programs: a tile holds whole rows, all of one batch entry.

So a row's place takes no division. Views whose two leading axes merge, rows among them, are one batch entry.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

TILE = 2048
NARROW = 2**31 - 2**24  # offsets below are int32, those of the last tile's empty part included


@triton.jit
def tile(S, tiles, WIDE: tl.constexpr, BLOCK_N: tl.constexpr):
    """Of this program: batch entry [], its rows [BLOCK_N], which of them exist, and their numbers in [B, S]."""
    b = (tl.program_id(0) // tiles).to(tl.int64)
    s = tl.program_id(0) % tiles
    if WIDE:
        s = s.to(tl.int64)
    s = s * BLOCK_N + tl.arange(0, BLOCK_N)
    return b, s, s < S, b * S + s


@triton.jit
def places(pointer, b, s, d, stride_b, stride_s, stride_d, D: tl.constexpr, PACKED: tl.constexpr):
    """Where the entries lie, [rows, columns]. PACKED: one batch entry of contiguous rows, which the compiler knows."""
    if PACKED:
        return pointer + (s[:, None] * D + d[None, :])
    else:
        return (pointer + b * stride_b) + (s[:, None] * stride_s + d[None, :] * stride_d)


class Cut(NamedTuple):
    """How views of one shape are cut: a pure function of shape and strides."""

    programs: int
    length: int  # rows of a batch entry
    tiles: int  # of a batch entry
    strides: tuple[int, ...]  # three of each tensor
    constants: dict[str, Any]
    warps: int


def cut(*tensors: torch.Tensor) -> Cut:
    batch, length, dimension = tensors[0].shape
    strides = [tensor.stride() for tensor in tensors]
    if all(b == length * s or batch == 1 for b, s, _ in strides):
        batch, length = 1, batch * length
    packed = batch == 1 and all((s, d) == (dimension, 1) for _, s, d in strides)
    block_d = triton.next_power_of_2(dimension)
    block_n = min(max(1, TILE // block_d), max(16, triton.next_power_of_2(length)))
    furthest = [(length - 1) * s + (dimension - 1) * d for _, s, d in strides]
    constants = {
        "D": dimension, "WIDE": max(*furthest, length * dimension) >= NARROW, "PACKED": packed,
        "BLOCK_N": block_n, "BLOCK_D": block_d,
    }  # fmt: skip
    tiles = triton.cdiv(length, block_n)
    flat = tuple(stride for each in strides for stride in each)
    return Cut(batch * tiles, length, tiles, flat, constants, 4 if block_n * block_d >= 1024 else 1)


def as_bytes(mask: torch.Tensor | None, unread: torch.Tensor) -> torch.Tensor:
    return unread if mask is None else mask.contiguous().view(torch.int8)
