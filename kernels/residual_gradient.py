"""The gradient of residual vector quantization in one pass over x, and the sums by which its codebooks move.

    grad_x = grad + Σ_q scales[q]·r_{q+1}   over the stages that a row used; of one that used none 0, or NaN where x is
    counts[k], sums[k] = count and Σ r_q of the rows of stage q that chose its code k;  center: Σ r_{q+1}

Residuals are never stored: each is computed again, r_q = ((x - c_0) - c_1) …, in fp32 in the order of the forward pass,
so that they are the very same numbers. In the gradient that takes one code a stage. In the sums a row stands once for
each stage, in the order of codes (codebook_statistics.py), and takes the codes before its own: on average half of the
stages, from the caches, where a buffer of residuals would be written and read again at every stage. x is read through
its strides; two runs agree bit for bit. Reference: aevae_fast/reference.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .codebook_statistics import store_chunk_sums, sum_sorted
from .rows import row_pointers


@triton.jit
def _first_code(q, SIZES: tl.constexpr):
    """Where the codes of stage q begin among all."""
    first = q * 0
    for i in tl.static_range(len(SIZES)):
        first += tl.where(q > i, SIZES[i], 0)
    return first


@triton.jit
def _residual_vector_quantize_bwd_kernel(
    grad_ptr, x_ptr, codebooks_ptr, indices_ptr, scales_ptr, grad_x_ptr,
    N, S, D, stride_gb, stride_gs, stride_gd, stride_xb, stride_xs, stride_xd, stride_ob, stride_os, stride_od,
    SIZES: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # grad, x, grad_x :: [B, S, D] fp16|bf16|fp32   codebooks :: [ΣK, D] fp32   indices :: [B, S, Q] int64
    # scales :: [Q] fp32
    STAGES: tl.constexpr = len(SIZES)
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    live = n < N
    inside = live[:, None] & (d < D)[None, :]
    column = d.to(tl.int64)[None, :]
    grads = row_pointers(grad_ptr, n, N, S, stride_gb, stride_gs)
    rows = row_pointers(x_ptr, n, N, S, stride_xb, stride_xs)
    targets = row_pointers(grad_x_ptr, n, N, S, stride_ob, stride_os)
    total = tl.load(grads[:, None] + column * stride_gd, mask=inside, other=0.0).to(tl.float32)
    x = tl.load(rows[:, None] + column * stride_xd, mask=inside, other=0.0).to(tl.float32)
    residual = x
    last = tl.full([BLOCK_N], -1, tl.int64)
    for q in tl.range(STAGES, num_stages=1):
        index = tl.load(indices_ptr + n * STAGES + q, mask=live, other=-1)
        used = (index >= 0)[:, None]
        at = codebooks_ptr + (index + _first_code(q, SIZES))[:, None] * D + d[None, :]
        residual -= tl.load(at, mask=inside & used, other=0.0)
        total += tl.where(used, tl.load(scales_ptr + q) * residual, 0.0)
        last = tl.maximum(last, index)
    total = tl.where((last >= 0)[:, None], total, x * 0.0)
    tl.store(targets[:, None] + column * stride_od, total.to(grad_x_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _codes_of_all_kernel(indices_ptr, codes_ptr, total, SIZES: tl.constexpr, BLOCK: tl.constexpr):
    # indices :: [N, Q] int64   codes :: [N, Q] int32, a number for each code of each stage; -1 for none
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    index = tl.load(indices_ptr + at, mask=at < total, other=-1).to(tl.int32)
    first = _first_code((at % len(SIZES)).to(tl.int32), SIZES)
    tl.store(codes_ptr + at, tl.where(index >= 0, index + first, -1), mask=at < total)


@triton.jit
def _chunk_residuals_kernel(
    x_ptr, codebooks_ptr, codes_ptr, order_ptr, sorted_ptr, starts_ptr, sums_ptr, partial_ptr,
    N, S, D, Q, stride_xb, stride_xs, stride_xd,
    CENTER: tl.constexpr, CHUNK: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # x :: [B, S, D]   codebooks :: [ΣK, D] fp32   codes :: [N / Q, Q] int32   order :: [N] int64   sorted :: [N] int32
    # starts :: [ΣK + 1] int64   sums :: [ΣK, D] fp32   partial :: [chunks, 2, D] fp32, as codebook_statistics.py says
    first = tl.program_id(0).to(tl.int64) * CHUNK
    at = first + tl.arange(0, CHUNK)
    live = at < N
    code = tl.load(sorted_ptr + at, mask=live, other=-1)
    previous = tl.load(sorted_ptr + at - 1, mask=live & (at > first), other=-1)
    entry = tl.load(order_ptr + at, mask=live, other=0)
    n, q = entry // Q, (entry % Q).to(tl.int32)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    rows = x_ptr + (n // S) * stride_xb + (n % S) * stride_xs
    inside = (code >= 0)[:, None] & (d < D)[None, :]
    x = tl.load(rows[:, None] + d.to(tl.int64)[None, :] * stride_xd, mask=inside, other=0.0).to(tl.float32)
    taken = tl.where(code >= 0, q + 1 if CENTER else q, 0)
    for p in range(tl.max(taken, 0)):
        before = tl.load(codes_ptr + n * Q + p, mask=p < taken, other=-1)
        at_code = codebooks_ptr + before.to(tl.int64)[:, None] * D + d[None, :]
        x -= tl.load(at_code, mask=(before >= 0)[:, None] & (d < D)[None, :], other=0.0)
    store_chunk_sums(x, code, previous, d, starts_ptr, sums_ptr, partial_ptr, D, CHUNK)


def residual_vector_quantize_backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    codebooks: torch.Tensor,
    sizes: list[int],
    indices: torch.Tensor,
    scales: torch.Tensor,
) -> torch.Tensor:
    """Gradient of x, like x, from that of quantized [B, S, D], indices [B, S, Q] and scales [Q] float32."""
    batch, length, dimension = x.shape
    grad_x = torch.empty_like(x)
    if grad_x.numel() == 0:
        return grad_x
    block_n, block_d = 32, min(128, max(16, triton.next_power_of_2(dimension)))
    _residual_vector_quantize_bwd_kernel[(triton.cdiv(batch * length, block_n), triton.cdiv(dimension, block_d))](
        grad, x, codebooks, indices.contiguous(), scales, grad_x,
        batch * length, length, dimension, *grad.stride(), *x.stride(), *grad_x.stride(),
        SIZES=tuple(sizes), BLOCK_N=block_n, BLOCK_D=block_d, num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
    return grad_x


def residual_statistics(
    x: torch.Tensor, codebooks: torch.Tensor, sizes: list[int], indices: torch.Tensor, center: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """(counts [ΣK], sums [ΣK, D]) in float32 of the residuals of x [B, S, D], by indices [B, S, Q]; skips -1."""
    _, length, dimension = x.shape
    total = indices.numel()
    if total == 0:
        return codebooks.new_zeros(sum(sizes)), codebooks.new_zeros((sum(sizes), dimension))
    codes = torch.empty(indices.shape, dtype=torch.int32, device=x.device)
    _codes_of_all_kernel[(triton.cdiv(total, 1024),)](
        indices.contiguous(), codes, total, SIZES=tuple(sizes), BLOCK=1024, num_warps=4, enable_fp_fusion=True
    )
    in_order, order = torch.sort(codes.reshape(-1), stable=True)

    def chunk_sums(
        grid: tuple[int, int], starts: torch.Tensor, sums: torch.Tensor, partial: torch.Tensor, options: dict[str, int]
    ) -> None:
        _chunk_residuals_kernel[grid](
            x, codebooks, codes, order, in_order, starts, sums, partial,
            total, length, dimension, len(sizes), *x.stride(), CENTER=center, **options, enable_fp_fusion=True,
        )  # fmt: skip

    return sum_sorted(in_order, sum(sizes), dimension, chunk_sums)
