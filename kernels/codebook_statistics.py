"""Count and sum of the rows of each code, the same bits on every run.

    counts[k] = #{n : indices[n] = k}      sums[k] = Σ_{n : indices[n] = k} x[n]        (index -1 is skipped)
    with a center [K, D]:              sums[k] = Σ (x[n] - center[k]), each difference rounded once, in fp32

Rows are put in the order of their codes by a stable sort of the indices alone; x is gathered in place. A program owns a
fixed range of CHUNK sorted rows, whatever the codes, so a code with half of all rows is spread over N / (2·CHUNK)
programs. What lies inside one chunk is stored as it is; a code that crosses chunks leaves one partial a chunk, and a
second kernel adds those in order, taking the sums of 64 whole chunks where it can: no atomics, no host sync, grids that
depend on shapes alone. Accumulation in float32. Not materialised: the [N, K] one-hot. Reference: aevae_fast/reference.

Launches: the indices as keys, their sort (torch's, by radix), where each code starts, the chunks' sums, those of 64
chunks (of more than 4096 rows), what crosses chunks. Bytes: x read once, N·D·b, and 8·N of indices; 8·N of the order
twice; per radix pass, of 8 bits, keys and order read and written, 2·(8 + key)·N: a key takes 2 bytes up to 32767 codes,
then 4. Sums and counts are written once, 4·K·D + 4·K; partials are at most 8·D a chunk of 32 rows, twice.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import triton
import triton.language as tl

CHUNK = 32
# Chunks whose partials are summed ahead: a code with 10^7 rows costs the combining program about 5·10^3 partials.
SPAN = 64
# Of up to this many chunks none are: a launch more would take longer than one program's way over all of them.
FEW = 2 * SPAN
# A code's start is sought among so many places at a time: log₁₆ N loads that wait for each other, instead of log₂ N.
LANES = 16


@triton.jit
def _code_starts_kernel(sorted_ptr, starts_ptr, N, K, steps, width, LANES: tl.constexpr, BLOCK_K: tl.constexpr):
    # sorted :: [N] int16|int32, ascending   starts :: [K + 1] int64: how many are below k
    k = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    lane = 1 + tl.arange(0, LANES).to(tl.int64)
    low = tl.zeros([BLOCK_K], tl.int64)
    for _ in range(steps):
        # Known so far: low <= start < low + LANES·width. So the last lane, at low + LANES·width - 1, never counts.
        at = low[:, None] + lane[None, :] * width - 1
        code = tl.load(sorted_ptr + at, mask=at < N, other=0).to(tl.int32)
        low += tl.sum(((at < N) & (code < k[:, None])).to(tl.int64), 1) * width
        width = width // LANES
    tl.store(starts_ptr + k, low, mask=k <= K)


@triton.jit
def _chunk_sums_kernel(
    x_ptr, center_ptr, order_ptr, sorted_ptr, starts_ptr, sums_ptr, partial_ptr,
    N, S, D, stride_xb, stride_xs, stride_xd,
    HAS_CENTER: tl.constexpr, CHUNK: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # x :: [B, S, D]   center :: [K, D] fp32   order :: [N] int64   sorted :: [N] int16|int32   starts :: [K + 1] int64
    # sums :: [K, D] fp32
    # partial :: [chunks, 2, D] fp32: of a code begun in an earlier chunk; of one begun here that goes on
    first = tl.program_id(0).to(tl.int64) * CHUNK
    at = first + tl.arange(0, CHUNK)
    live = at < N
    code = tl.load(sorted_ptr + at, mask=live, other=-1).to(tl.int32)
    previous = tl.load(sorted_ptr + at - 1, mask=live & (at > first), other=-1).to(tl.int32)
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
    HAS_SPANS: tl.constexpr, CHUNK: tl.constexpr, SPAN: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # counts :: [K] fp32   sums :: [K, D] fp32   span: read where HAS_SPANS
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
        tail = first + 1
        if HAS_SPANS:
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
    codes, order = sorted_codes(indices, codebook_size)

    def chunk_sums(
        grid: tuple[int, int], starts: torch.Tensor, sums: torch.Tensor, partial: torch.Tensor, options: dict[str, int]
    ) -> None:
        _chunk_sums_kernel[grid](
            x, sums if center is None else center.contiguous(), order, codes, starts, sums, partial,
            total, length, dimension, *x.stride(), HAS_CENTER=center is not None, **options, enable_fp_fusion=True,
        )  # fmt: skip

    return sum_sorted(codes, codebook_size, dimension, chunk_sums)


def sorted_codes(indices: torch.Tensor, codebook_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices in ascending order, -1 first, and where each was, in the order of places among equals; both [N]. A radix
    sort passes over keys of 16 bits half as often as over those of 32."""
    key = torch.int16 if codebook_size <= torch.iinfo(torch.int16).max else torch.int32
    return torch.sort(indices.reshape(-1).to(key), stable=True)


def code_starts(codes: torch.Tensor, codebook_size: int) -> torch.Tensor:
    """Of sorted codes [N], -1 among them, how many are below each of 0 … codebook_size: [K + 1] int64."""
    total, block_k = codes.numel(), 64
    starts = torch.empty(codebook_size + 1, dtype=torch.int64, device=codes.device)
    steps = -(-total.bit_length() // (LANES.bit_length() - 1))
    _code_starts_kernel[(triton.cdiv(codebook_size + 1, block_k),)](
        codes, starts, total, codebook_size, steps, LANES ** (steps - 1), LANES=LANES, BLOCK_K=block_k,
        num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
    return starts


def sum_sorted(
    codes: torch.Tensor, codebook_size: int, dimension: int, chunk_sums: Callable[..., None]
) -> tuple[torch.Tensor, torch.Tensor]:
    """(counts [K], sums [K, D]) of rows in the order of their sorted codes [N]; `chunk_sums` launches what sums the
    rows of each chunk: (grid, starts, sums, partial, constants)."""
    counts = torch.empty(codebook_size, dtype=torch.float32, device=codes.device)
    sums = counts.new_empty((codebook_size, dimension))
    starts = code_starts(codes, codebook_size)
    chunks = triton.cdiv(codes.numel(), CHUNK)
    spans = triton.cdiv(chunks, SPAN)
    block_d = min(64, max(16, triton.next_power_of_2(dimension)))
    blocks = triton.cdiv(dimension, block_d)
    partial = sums.new_empty((spans * SPAN, 2, dimension))
    span = sums.new_empty((spans, dimension)) if chunks > FEW else partial
    options = {"CHUNK": CHUNK, "BLOCK_D": block_d, "num_warps": 8 if block_d == 64 else 4}
    chunk_sums((chunks, blocks), starts, sums, partial, options)
    if chunks > FEW:
        _span_sums_kernel[(spans, blocks)](
            partial, span, dimension, SPAN=SPAN, BLOCK_D=block_d, num_warps=4, enable_fp_fusion=True
        )
    _combine_sums_kernel[(codebook_size, blocks)](
        starts, partial, span, counts, sums, dimension, HAS_SPANS=chunks > FEW, CHUNK=CHUNK, SPAN=SPAN, BLOCK_D=block_d,
        num_warps=2, enable_fp_fusion=True,
    )  # fmt: skip
    return counts, sums
