"""How probable the codes of groups of bits are, summed over rows; and the gradient. Nothing has N·2^group entries.

    table[g, a·2^low + b] = Σ_n P(a | x_n)·P(b | x_n)      a, b: codes of the higher and the lower half of the group
    P(c | x) = Π_t σ(±slope·x_t)                            d ln P/d x_t = slope·([bit t of c] - σ(slope·x_t))

A program makes the halves' probabilities of a block of rows on the chip and multiplies them: [2^high, rows]·[rows,
2^low]; sums over rows end up in one partial table a program, so that two runs agree bit for bit. x in fp16, bf16 or
fp32, through its strides; products in full fp32. Reference: aevae_fast/reference/lookup_free_quantize.py.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from .row_tiles import as_bytes
from .rows import row_pointers

WIDEST = 32  # codes of a tile's side
# Rows of a block, and warps: more would spill.
FORWARD, BACKWARD = (16, 4), (32, 8)
PROGRAMS = 1024  # about as many: partial tables are few, and every processor has work
SUMS = tl.constexpr(16)  # room for one sum for each bit of a half, of which there are at most 10


@triton.jit
def _bit(rows, kept, t, last, size, stride_xd, slope):
    """Probabilities that bit t of a group is 1, and 0; bits from `size` on are 0."""
    present = tl.full([kept.shape[0]], 0, tl.int32) + t < size
    x = tl.load(rows + (last - t).to(tl.int64) * stride_xd, mask=kept & present, other=0.0).to(tl.float32)
    logit = slope * x
    e = tl.exp(-tl.abs(logit))
    large, small = 1.0 / (1.0 + e), e / (1.0 + e)
    one = tl.where(logit > 0.0, large, small)
    zero = tl.where(logit > 0.0, small, large)
    return tl.where(present, one, 0.0), tl.where(present, zero, 1.0)


@triton.jit
def _products(
    rows, kept, start, low, last, size, stride_xd, slope, COUNT: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Probabilities of BLOCK codes of COUNT bits from `start` on, a multiple of BLOCK; the lowest is bit `low` of the
    group. 0 of rows that do not count and of codes that do not exist. [rows, BLOCK]."""
    code = tl.arange(0, BLOCK)
    found = tl.where(kept[:, None] & (code < (1 << COUNT))[None, :], 1.0, 0.0)
    shared = tl.full([kept.shape[0]], 1.0, tl.float32)  # of bits that all these codes have alike
    for i in tl.static_range(COUNT):
        one, zero = _bit(rows, kept, low + i, last, size, stride_xd, slope)
        if (1 << i) < BLOCK:
            found *= tl.where(((code >> i) & 1)[None, :] == 1, one[:, None], zero[:, None])
        else:
            shared *= tl.where(((start >> i) & 1) == 1, one, zero)
    return found * shared[:, None]


@triton.jit
def _place(group, groups, bits, GROUP: tl.constexpr):
    """Of a group among those of all codebooks: where its last bit lies in x, and how many it has."""
    first = (group % groups) * GROUP
    size = tl.minimum(bits - first, GROUP)
    return (group // groups) * bits + first + size - 1, size


@triton.jit
def _rows(x_ptr, mask_ptr, n, N, S, stride_xb, stride_xs, HAS_MASK: tl.constexpr):
    kept = n < N
    if HAS_MASK:
        kept = kept & (tl.load(mask_ptr + n, mask=kept, other=0) != 0)
    return row_pointers(x_ptr, n, N, S, stride_xb, stride_xs), kept


@triton.jit
def _code_probabilities_kernel(
    x_ptr, mask_ptr, parts_ptr, N, S, bits, groups, chunk, stride_xb, stride_xs, stride_xd, slope,
    HIGH: tl.constexpr, LOW: tl.constexpr, HAS_MASK: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_A: tl.constexpr, BLOCK_B: tl.constexpr,
):  # fmt: skip
    # x :: [B, S, C·bits] fp16|bf16|fp32   mask :: [B, S] int8   parts :: [programs, C·groups, 2^HIGH, 2^LOW] fp32
    part, group = tl.program_id(0).to(tl.int64), tl.program_id(1)
    across = tl.cdiv(1 << LOW, BLOCK_B)
    start_a, start_b = tl.program_id(2) // across * BLOCK_A, tl.program_id(2) % across * BLOCK_B
    last, size = _place(group, groups, bits, HIGH + LOW)
    total = tl.zeros([BLOCK_A, BLOCK_B], tl.float32)
    for start in tl.range(0, chunk, BLOCK_N, num_stages=1):
        n = part * chunk + start + tl.arange(0, BLOCK_N)
        rows, kept = _rows(x_ptr, mask_ptr, n, N, S, stride_xb, stride_xs, HAS_MASK)
        high = _products(rows, kept, start_a, LOW, last, size, stride_xd, slope, HIGH, BLOCK_A)
        low = _products(rows, kept, start_b, 0, last, size, stride_xd, slope, LOW, BLOCK_B)
        total = tl.dot(tl.trans(high), low, total, input_precision="ieee")
    table = parts_ptr + ((part * tl.num_programs(1) + group) << (HIGH + LOW))
    a, b = start_a + tl.arange(0, BLOCK_A), start_b + tl.arange(0, BLOCK_B)
    inside = (a < (1 << HIGH))[:, None] & (b < (1 << LOW))[None, :]
    tl.store(table + (a << LOW)[:, None] + b[None, :], total, mask=inside)


@triton.jit
def _half_gradient(
    rows, live, kept, table, targets, low, other_low, last, size, stride_own, stride_other, stride_xd, stride_od, slope,
    OWN: tl.constexpr, OTHER: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_OWN: tl.constexpr, BLOCK_OTHER: tl.constexpr,
):  # fmt: skip
    """Of the bits of one half: the weight of each of its codes is P(own)·Σ_other P(other)·table[own, other]."""
    bit = tl.arange(0, SUMS)[None, :]
    ones = tl.zeros([BLOCK_N, SUMS], tl.float32)
    zeros = tl.zeros([BLOCK_N, SUMS], tl.float32)
    for start in tl.range(0, 1 << OWN, BLOCK_OWN, num_stages=1):
        own = start + tl.arange(0, BLOCK_OWN)
        weight = tl.zeros([BLOCK_N, BLOCK_OWN], tl.float32)
        for first in tl.range(0, 1 << OTHER, BLOCK_OTHER, num_stages=1):
            other = first + tl.arange(0, BLOCK_OTHER)
            factor = _products(rows, kept, first, other_low, last, size, stride_xd, slope, OTHER, BLOCK_OTHER)
            inside = (other < (1 << OTHER))[:, None] & (own < (1 << OWN))[None, :]
            entries = tl.load(table + other[:, None] * stride_other + own[None, :] * stride_own, mask=inside, other=0.0)
            weight = tl.dot(factor, entries, weight, input_precision="ieee")
        weight *= _products(rows, kept, start, low, last, size, stride_xd, slope, OWN, BLOCK_OWN)
        for i in tl.static_range(OWN):
            has = (((own >> i) & 1) == 1)[None, :]
            ones += tl.where(bit == i, tl.sum(tl.where(has, weight, 0.0), 1)[:, None], 0.0)
            zeros += tl.where(bit == i, tl.sum(tl.where(has, 0.0, weight), 1)[:, None], 0.0)
    for i in tl.static_range(OWN):
        one, zero = _bit(rows, kept, low + i, last, size, stride_xd, slope)
        with_bit = tl.sum(tl.where(bit == i, ones, 0.0), 1)
        without = tl.sum(tl.where(bit == i, zeros, 0.0), 1)
        found = tl.where(kept, slope * (zero * with_bit - one * without), 0.0)
        target = targets + (last - low - i).to(tl.int64) * stride_od
        present = tl.full([kept.shape[0]], 0, tl.int32) + low + i < size
        tl.store(target, found.to(target.dtype.element_ty), mask=live & present)


@triton.jit
def _code_probabilities_bwd_kernel(
    table_ptr, x_ptr, mask_ptr, grad_x_ptr, N, S, bits, groups, stride_xb, stride_xs, stride_xd, stride_ob, stride_os,
    stride_od, slope,
    HIGH: tl.constexpr, LOW: tl.constexpr, HAS_MASK: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_A: tl.constexpr, BLOCK_B: tl.constexpr,
):  # fmt: skip
    # table :: [C·groups, 2^HIGH, 2^LOW] fp32, a gradient   x, grad_x :: [B, S, C·bits] fp16|bf16|fp32
    # mask :: [B, S] int8
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    group = tl.program_id(1)
    last, size = _place(group, groups, bits, HIGH + LOW)
    rows, kept = _rows(x_ptr, mask_ptr, n, N, S, stride_xb, stride_xs, HAS_MASK)
    targets = row_pointers(grad_x_ptr, n, N, S, stride_ob, stride_os)
    table = table_ptr + (group.to(tl.int64) << (HIGH + LOW))
    _half_gradient(
        rows, n < N, kept, table, targets, LOW, 0, last, size, 1 << LOW, 1, stride_xd, stride_od, slope,
        HIGH, LOW, BLOCK_N, BLOCK_A, BLOCK_B,
    )  # fmt: skip
    _half_gradient(
        rows, n < N, kept, table, targets, 0, LOW, last, size, 1, 1 << LOW, stride_xd, stride_od, slope,
        LOW, HIGH, BLOCK_N, BLOCK_B, BLOCK_A,
    )  # fmt: skip


def halves(group: int, block_n: int) -> dict[str, int]:
    """Bits of either half of a group, rows of a block, tiles of the halves' codes; products of matrices start at 16."""
    high, low = (group + 1) // 2, group // 2
    tiles = (min(WIDEST, max(16, 2**bits)) for bits in (high, low))
    return {"HIGH": high, "LOW": low, "BLOCK_N": block_n, **dict(zip(("BLOCK_A", "BLOCK_B"), tiles, strict=True))}


def code_probabilities(x: torch.Tensor, mask: torch.Tensor | None, slope: float, bits: int, group: int) -> torch.Tensor:
    """Σ over the rows of x [B, S, C·bits] that count of the probability of every code → [C, groups, 2^group] fp32."""
    batch, length, dimension = x.shape
    codebooks, groups = dimension // bits, triton.cdiv(bits, group)
    block_n, warps = FORWARD
    form: dict[str, Any] = halves(group, block_n)
    shape = (codebooks, groups, 2**group)
    rows = batch * length
    if rows == 0:
        return torch.zeros(shape, dtype=torch.float32, device=x.device)
    tiles = triton.cdiv(2 ** form["HIGH"], form["BLOCK_A"]) * triton.cdiv(2 ** form["LOW"], form["BLOCK_B"])
    parts = max(1, min(triton.cdiv(PROGRAMS, codebooks * groups * tiles), triton.cdiv(rows, block_n)))
    chunk = triton.cdiv(triton.cdiv(rows, parts), block_n) * block_n
    parts = triton.cdiv(rows, chunk)
    tables = torch.empty(parts, *shape, dtype=torch.float32, device=x.device)
    _code_probabilities_kernel[(parts, codebooks * groups, tiles)](
        x, as_bytes(mask, x), tables, rows, length, bits, groups, chunk, *x.stride(), slope,
        HAS_MASK=mask is not None, **form, num_warps=warps, enable_fp_fusion=True,
    )  # fmt: skip
    return tables.sum(0)


def code_probabilities_backward(
    grad: torch.Tensor, x: torch.Tensor, mask: torch.Tensor | None, slope: float, bits: int, group: int
) -> torch.Tensor:
    """The gradient of x for that of the table, [C, groups, 2^group] fp32; 0 of masked rows; like x."""
    batch, length, dimension = x.shape
    grad_x = torch.empty_like(x)
    rows, groups = batch * length, triton.cdiv(bits, group)
    if grad_x.numel() == 0:
        return grad_x
    block_n, warps = BACKWARD
    _code_probabilities_bwd_kernel[(triton.cdiv(rows, block_n), dimension // bits * groups)](
        grad.contiguous(), x, as_bytes(mask, x), grad_x, rows, length, bits, groups, *x.stride(), *grad_x.stride(),
        slope, HAS_MASK=mask is not None, **halves(group, block_n), num_warps=warps, enable_fp_fusion=True,
    )  # fmt: skip
    return grad_x
