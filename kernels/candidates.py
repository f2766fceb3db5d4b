"""Vectors of a batch that may replace dead codes, taken in one launch: for each code k one row, and a 1 beside it.

    number = steps·K + k      joined = ((number mod 2³¹)·spread mod 2³¹)·ranks
    row ⌊(joined mod 2³¹)·N / 2³¹⌋ of the rank ⌊joined / 2³¹⌋; zeros elsewhere, and where it is masked or not finite

x in fp16, bf16 or fp32 through its strides; rows are written in fp32. Of each row D elements are read twice, and
4·(D + 1) bytes written for each head. Nothing waits for the host. The same rows as aevae_fast/portable/candidates.py.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .rows import row_pointers


@triton.jit
def _note_candidates_kernel(
    x_ptr, keep_ptr, steps_ptr, candidates_ptr, N, S, K, D, width, world, rank, spread,
    stride_xb, stride_xs, stride_xd, HAS_KEEP: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # x :: [B, S, D] fp16|bf16|fp32   keep :: [B, S] int8   steps :: [] int64
    # candidates :: [D / width, K, width + 1] fp32
    k = tl.program_id(0).to(tl.int64) * BLOCK_K + tl.arange(0, BLOCK_K)
    number = tl.load(steps_ptr) * K + k
    joined = (number & 0x7FFFFFFF) * spread & 0x7FFFFFFF
    joined *= world
    n = (joined & 0x7FFFFFFF) * N >> 31
    usable = (k < K) & (joined >> 31 == rank)
    if HAS_KEEP:
        usable = usable & (tl.load(keep_ptr + n, mask=usable, other=0) != 0)
    rows = row_pointers(x_ptr, n, N, S, stride_xb, stride_xs)
    worst = tl.zeros([BLOCK_K], tl.float32)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        inside = usable[:, None] & (d < D)[None, :]
        x = tl.load(rows[:, None] + d.to(tl.int64)[None, :] * stride_xd, mask=inside, other=0.0).to(tl.float32)
        worst += tl.sum(x * 0.0, 1)  # NaN of what is not finite
    usable = usable & (worst == 0.0)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        inside = usable[:, None] & (d < D)[None, :]
        x = tl.load(rows[:, None] + d.to(tl.int64)[None, :] * stride_xd, mask=inside, other=0.0).to(tl.float32)
        to = ((d // width)[None, :] * K + k[:, None]) * (width + 1) + (d % width)[None, :]
        written = (k < K)[:, None] & (d < D)[None, :]
        tl.store(candidates_ptr + to, x, mask=written)
        last = written & (d % width == width - 1)[None, :]
        tl.store(candidates_ptr + to + 1, tl.where(usable[:, None], 1.0, 0.0 * x), mask=last)


def note_candidates_(
    candidates: torch.Tensor, x: torch.Tensor, keep: torch.Tensor | None, steps: torch.Tensor, heads: int,
    world: int, rank: int, spread: int,
) -> None:  # fmt: skip
    """Write candidates [heads·K, D / heads + 1] float32, head after head, from rows x [B, S, D], which are not none;
    keep [B, S] bool, True for rows that may be taken."""
    batch, length, dimension = x.shape
    size = len(candidates) // heads
    block_d = min(128, max(16, triton.next_power_of_2(dimension)))
    block_k = 1024 // block_d
    _note_candidates_kernel[(triton.cdiv(size, block_k),)](
        x, None if keep is None else keep.contiguous().view(torch.int8), steps, candidates, batch * length, length,
        size, dimension, dimension // heads, world, rank, spread, *x.stride(), HAS_KEEP=keep is not None,
        BLOCK_K=block_k, BLOCK_D=block_d, num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
