"""Count and sum of the rows of each code, the same bits on every run.

    counts[k] = #{n : indices[n] = k}      sums[k] = Σ_{n : indices[n] = k} x[n]        (index -1 is skipped)
    with a center [K, D]:              sums[k] = Σ (x[n] - center[k]), each difference rounded once, in fp32

Rows are put in the order of their codes by a stable sort of the indices alone; x is gathered in place. A program owns a
fixed range of CHUNK sorted rows, whatever the codes, so a code with half of all rows is spread over N / (2·CHUNK)
programs. What lies inside one chunk is stored as it is; a code that crosses chunks leaves one partial a chunk, and a
second kernel adds those in order, taking the sums of 64 whole chunks where it can: no atomics, no host sync, grids that
depend on shapes alone. Accumulation in float32. Not materialised: the [N, K] one-hot. Reference: aevae_fast/reference.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import triton
import triton.language as tl

CHUNK = 32
# Chunks whose partials are summed ahead: a code with 10^7 rows costs the combining program about 5·10^3 partials.
SPAN = 64


@triton.jit
def _chunk_sums_kernel(
    x_ptr, center_ptr, order_ptr, sorted_ptr, starts_ptr, sums_ptr, partial_ptr,
    N, S, D, stride_xb, stride_xs, stride_xd,
    HAS_CENTER: tl.constexpr, CHUNK: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # x :: [B, S, D]   center :: [K, D] fp32   order :: [N] int64   sorted :: [N] int32   starts :: [K + 1] int64
    # sums :: [K, D] fp32
    # partial :: [chunks, 2, D] fp32: of a code begun in an earlier chunk; of one begun here that goes on
    first = tl.program_id(0).to(tl.int64) * CHUNK
    at = first + tl.arange(0, CHUNK)
    live = at < N
    code = tl.load(sorted_ptr + at, mask=live, other=-1)
    previous = tl.load(sorted_ptr + at - 1, mask=live & (at > first), other=-1)
    n = tl.load(order_ptr + at, mask=live, other=0)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    rows = x_ptr + (n // S) * stride_xb + (n % S) * stride_xs
    inside = (code >= 0)[:, None] & (d < D)[None, :]
    x = tl.load(rows[:, None] + d.to(tl.int64)[None, :] * stride_xd, mask=inside, other=0.0).to(tl.float32)
    if HAS_CENTER:
        at_center = center_ptr + code.to(tl.int64)[:, None] * D + d[None, :]
        x -= tl.load(at_center, mask=inside, other=0.0)
    store_chunk_sums(x, code, previous, d, starts_ptr, sums_ptr, partial_ptr, D, CHUNK)


@triton.jit
def store_chunk_sums(x, code, previous, d, starts_ptr, sums_ptr, partial_ptr, D, CHUNK: tl.constexpr):
    """Sum the rows x [CHUNK, BLOCK_D] of a chunk by code, in order; a code is new where it is not `previous`."""
    first = tl.program_id(0).to(tl.int64) * CHUNK
    # Every row gets the sum over the rows of its code; a 0/1 product in IEEE fp32, CHUNK multiply-adds an element.
    same = (code[:, None] == tl.trans(code[:, None])).to(tl.float32)
    total = tl.dot(same, x, input_precision="ieee")

    head = (code >= 0) & (code != previous)
    start = tl.load(starts_ptr + code, mask=head, other=0)
    end = tl.load(starts_ptr + code + 1, mask=head, other=0)
    whole = (start >= first) & (end <= first + CHUNK)
    open_end = tl.program_id(0).to(tl.int64) * 2 + tl.where(start < first, 0, 1)
    # Two stores: a choice between two pointers does not compile for gfx942 with Triton 3.6.
    within = (d < D)[None, :]
    tl.store(sums_ptr + code.to(tl.int64)[:, None] * D + d[None, :], total, mask=(head & whole)[:, None] & within)
    tl.store(partial_ptr + open_end[:, None] * D + d[None, :], total, mask=(head & ~whole)[:, None] & within)


@triton.jit
def _span_sums_kernel(partial_ptr, span_ptr, D, SPAN: tl.constexpr, BLOCK_D: tl.constexpr):
    # span :: [chunks / SPAN, D] fp32; read only where all its chunks hold one code
    chunk = tl.program_id(0).to(tl.int64) * SPAN + tl.arange(0, SPAN)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    part = tl.load(partial_ptr + chunk[:, None] * 2 * D + d[None, :], mask=(d < D)[None, :], other=0.0)
    tl.store(span_ptr + tl.program_id(0).to(tl.int64) * D + d, tl.sum(part, 0), mask=d < D)


@triton.jit
def _sum_rows(ptr, begin, end, stride, d, D, total, BLOCK: tl.constexpr):
    """total + Σ of rows begin … end - 1."""
    for base in range(begin, end, BLOCK):
        row = base + tl.arange(0, BLOCK)
        inside = (row < end)[:, None] & (d < D)[None, :]
        total += tl.sum(tl.load(ptr + row[:, None] * stride + d[None, :], mask=inside, other=0.0), 0)
    return total


@triton.jit
def _combine_sums_kernel(
    starts_ptr, partial_ptr, span_ptr, counts_ptr, sums_ptr, D,
    CHUNK: tl.constexpr, SPAN: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # counts :: [K] fp32   sums :: [K, D] fp32
    k = tl.program_id(0).to(tl.int64)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    start = tl.load(starts_ptr + k)
    end = tl.load(starts_ptr + k + 1)
    tl.store(counts_ptr + k, (end - start).to(tl.float32))
    first = start // CHUNK
    last = (end - 1) // CHUNK
    total = tl.zeros([BLOCK_D], tl.float32)
    if end > start and last > first:
        total += tl.load(partial_ptr + (first * 2 + 1) * D + d, mask=d < D, other=0.0)
        span_first = (first + SPAN) // SPAN
        span_last = tl.maximum((last + 1) // SPAN, span_first)
        head_end = tl.minimum(span_first * SPAN, last + 1)
        tail = tl.maximum(tl.minimum(span_last * SPAN, last + 1), head_end)
        total = _sum_rows(partial_ptr, first + 1, head_end, 2 * D, d, D, total, 16)
        total = _sum_rows(span_ptr, span_first, span_last, D, d, D, total, 16)
        total = _sum_rows(partial_ptr, tail, last + 1, 2 * D, d, D, total, 16)
    if end == start or last > first:
        tl.store(sums_ptr + k * D + d, total, mask=d < D)


def codebook_statistics(
    x: torch.Tensor, indices: torch.Tensor, codebook_size: int, center: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(counts [K], sums [K, D]) in float32 of x [B, S, D], or of x - center[index], by indices [B, S]; skips -1."""
    batch, length, dimension = x.shape
    total = batch * length
    if total == 0:
        counts = torch.zeros(codebook_size, dtype=torch.float32, device=x.device)
        return counts, counts.new_zeros((codebook_size, dimension))
    # 32-bit keys sort in half the passes of 64.
    codes, order = torch.sort(indices.reshape(-1).to(torch.int32), stable=True)

    def chunk_sums(
        grid: tuple[int, int], starts: torch.Tensor, sums: torch.Tensor, partial: torch.Tensor, options: dict[str, int]
    ) -> None:
        _chunk_sums_kernel[grid](
            x, sums if center is None else center.contiguous(), order, codes, starts, sums, partial,
            total, length, dimension, *x.stride(), HAS_CENTER=center is not None, **options, enable_fp_fusion=True,
        )  # fmt: skip

    return sum_sorted(codes, codebook_size, dimension, chunk_sums)


def sum_sorted(
    codes: torch.Tensor, codebook_size: int, dimension: int, chunk_sums: Callable[..., None]
) -> tuple[torch.Tensor, torch.Tensor]:
    """(counts [K], sums [K, D]) of rows in the order of their sorted codes [N]; `chunk_sums` launches what sums the
    rows of each chunk: (grid, starts, sums, partial, constants)."""
    counts = torch.empty(codebook_size, dtype=torch.float32, device=codes.device)
    sums = counts.new_empty((codebook_size, dimension))
    starts = torch.searchsorted(codes, torch.arange(codebook_size + 1, dtype=torch.int32, device=codes.device))
    chunks = triton.cdiv(codes.numel(), CHUNK)
    spans = triton.cdiv(chunks, SPAN)
    block_d = min(64, max(16, triton.next_power_of_2(dimension)))
    blocks = triton.cdiv(dimension, block_d)
    partial = sums.new_empty((spans * SPAN, 2, dimension))
    span = sums.new_empty((spans, dimension))
    options = {"CHUNK": CHUNK, "BLOCK_D": block_d, "num_warps": 8 if block_d == 64 else 4}
    chunk_sums((chunks, blocks), starts, sums, partial, options)
    _span_sums_kernel[(spans, blocks)](
        partial, span, dimension, SPAN=SPAN, BLOCK_D=block_d, num_warps=4, enable_fp_fusion=True
    )
    _combine_sums_kernel[(codebook_size, blocks)](
        starts, partial, span, counts, sums, dimension, CHUNK=CHUNK, SPAN=SPAN, BLOCK_D=block_d,
        num_warps=2, enable_fp_fusion=True,
    )  # fmt: skip
    return counts, sums
