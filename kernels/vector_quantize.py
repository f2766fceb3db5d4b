"""Vector quantization in one pass over x, and its gradient in another.

    indices[n] = argmin_k dist(x[n], codebook[k])      quantized[n] = codebook[indices[n]]
    squared_error = Σ_n Σ_d (x - codebook[indices])²    over unmasked rows
    grad_x = grad + scale·(x - codebook[indices])       straight-through value plus commitment; 0 where masked

Neither the [N, K] distances nor an fp32 or permuted copy of x is built. x in fp16, bf16 or fp32, read and written
through its strides; codebook, errors and sums in fp32, one partial sum a program, so that two runs agree bit for bit.
A masked row gets index -1, zeros and no error; a row with a non-finite entry index -1, NaNs and a NaN error.

Launches: the codebook made ready, the sweeps (search.py, narrow.py), one that settles open rows, gathers and sums; of x
are read N·D·b twice and N·D·b written, 8·N read and written of indices. The backward reads x, the upstream gradient and
8·N of indices and writes a gradient, 3·N·D·b. Reference: aevae_fast/reference.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .rows import after, row_pointers
from .search import sweep
from .settle import settled


@triton.jit(do_not_specialize=["tiles", "K", "splits", "group_bits"])
def _settle_and_quantize_kernel(
    x_ptr, codebook_ptr, mask_ptr, entry_ptr, lowest_ptr, reach_ptr, codes_ptr, quantized_ptr, indices_ptr, error_ptr,
    N, S, K, D, splits, tiles, group_bits, stride_xb, stride_xs, stride_xd, stride_qb, stride_qs, stride_qd,
    HAS_MASK: tl.constexpr, EUCLIDEAN: tl.constexpr, SPLITS: tl.constexpr, BLOCK_K: tl.constexpr, LANES: tl.constexpr,
    GROUP_STEPS: tl.constexpr, BLOCK_D: tl.constexpr, ROWS: tl.constexpr, CODES: tl.constexpr,
):  # fmt: skip
    # x, quantized :: [B, S, D] fp16|bf16|fp32   codebook, codes :: [K, D] fp32   mask :: [B, S] int8
    # entry :: [splits, B·S] int64, which may be indices :: [B, S] int64   error :: [programs] fp32
    n = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    live = n < N
    kept = live
    if HAS_MASK:
        kept = live & (tl.load(mask_ptr + n, mask=live, other=0) != 0)
    rows = row_pointers(x_ptr, n, N, S, stride_xb, stride_xs)
    index = settled(
        n, kept, entry_ptr, lowest_ptr, reach_ptr, rows, codes_ptr, N, K, D, stride_xd, splits, tiles, group_bits,
        EUCLIDEAN, SPLITS, BLOCK_K, LANES, GROUP_STEPS, BLOCK_D, CODES,
    )  # fmt: skip
    # Nothing of the rows but this is kept while they are settled.
    n = after(index >= -1, tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS))
    live = n < N
    kept = live
    if HAS_MASK:
        kept = live & (tl.load(mask_ptr + n, mask=live, other=0) != 0)
    rows = row_pointers(x_ptr, n, N, S, stride_xb, stride_xs)
    tl.store(indices_ptr + n, index.to(tl.int64), mask=live)

    found = index >= 0
    absent = tl.where(kept, float("nan"), 0.0)
    codes = codebook_ptr + index.to(tl.int64) * D
    targets = row_pointers(quantized_ptr, n, N, S, stride_qb, stride_qs)
    error = tl.where(kept & (index < 0), float("nan"), 0.0)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        inside = found[:, None] & (d < D)[None, :]
        x = tl.load(rows[:, None] + d.to(tl.int64)[None, :] * stride_xd, mask=inside, other=0.0).to(tl.float32)
        code = tl.load(codes[:, None] + d[None, :], mask=inside, other=0.0)
        difference = x - code
        error += tl.sum(difference * difference, 1)
        tl.store(
            targets[:, None] + d.to(tl.int64)[None, :] * stride_qd,
            tl.where(found[:, None], code, absent[:, None]).to(quantized_ptr.dtype.element_ty),
            mask=live[:, None] & (d < D)[None, :],
        )
    tl.store(error_ptr + tl.program_id(0), tl.sum(error, 0))


@triton.jit
def _vector_quantize_bwd_kernel(
    grad_ptr, x_ptr, codebook_ptr, indices_ptr, mask_ptr, scale_ptr, grad_x_ptr,
    N, S, D, stride_gb, stride_gs, stride_gd, stride_xb, stride_xs, stride_xd, stride_ob, stride_os, stride_od,
    HAS_MASK: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # grad, x, grad_x :: [B, S, D] fp16|bf16|fp32   codebook :: [K, D] fp32   indices :: [B, S] int64
    # mask :: [B, S] int8   scale :: [] fp32
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    live = n < N
    kept = live
    if HAS_MASK:
        kept = live & (tl.load(mask_ptr + n, mask=live, other=0) != 0)
    # A kept row without an index is not finite, and so is its difference to any code.
    index = tl.maximum(tl.load(indices_ptr + n, mask=kept, other=0), 0)
    inside = kept[:, None] & (d < D)[None, :]
    column = d.to(tl.int64)[None, :]
    grads = row_pointers(grad_ptr, n, N, S, stride_gb, stride_gs)
    rows = row_pointers(x_ptr, n, N, S, stride_xb, stride_xs)
    targets = row_pointers(grad_x_ptr, n, N, S, stride_ob, stride_os)
    grad = tl.load(grads[:, None] + column * stride_gd, mask=inside, other=0.0).to(tl.float32)
    x = tl.load(rows[:, None] + column * stride_xd, mask=inside, other=0.0).to(tl.float32)
    code = tl.load(codebook_ptr + index[:, None] * D + d[None, :], mask=inside, other=0.0)
    grad_x = grad + tl.load(scale_ptr) * (x - code)
    grad_x = tl.where(kept[:, None], grad_x, 0.0)
    tl.store(
        targets[:, None] + column * stride_od,
        grad_x.to(grad_x_ptr.dtype.element_ty),
        mask=live[:, None] & (d < D)[None, :],
    )


def _bytes(mask: torch.Tensor | None, unread: torch.Tensor) -> torch.Tensor:
    return unread if mask is None else mask.contiguous().view(torch.int8)


def vector_quantize(
    x: torch.Tensor, codebook: torch.Tensor, mask: torch.Tensor | None, metric: str = "euclidean"
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(quantized like x, indices [B, S] int64, squared_error 0-d float32) of x [B, S, D]; mask [B, S], True keeps."""
    batch, length, dimension = x.shape
    quantized = torch.empty_like(x)
    indices = torch.empty((batch, length), dtype=torch.int64, device=x.device)
    if indices.numel() == 0:
        return quantized, indices, codebook.new_zeros(())
    swept = sweep(x, codebook, metric, indices)
    programs = triton.cdiv(indices.numel(), swept.constants["ROWS"])
    error = codebook.new_empty(programs)
    _settle_and_quantize_kernel[(programs,)](
        x, codebook, _bytes(mask, indices), swept.entry, swept.lowest, swept.reach, swept.codes, quantized, indices,
        error, indices.numel(), length, codebook.shape[0], dimension, *swept.sizes, *x.stride(), *quantized.stride(),
        HAS_MASK=mask is not None, **swept.constants,
    )  # fmt: skip
    return quantized, indices, error.sum()


def vector_quantize_backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    codebook: torch.Tensor,
    indices: torch.Tensor,
    mask: torch.Tensor | None,
    scale: torch.Tensor,
) -> torch.Tensor:
    """grad + scale·(x - code) of kept rows, not finite where x is not; 0 of masked ones; like x. scale: 0-d float32."""
    batch, length, dimension = x.shape
    grad_x = torch.empty_like(x)
    if grad_x.numel() == 0:
        return grad_x
    block_n, block_d = 32, min(128, max(16, triton.next_power_of_2(dimension)))
    _vector_quantize_bwd_kernel[(triton.cdiv(batch * length, block_n), triton.cdiv(dimension, block_d))](
        grad, x, codebook, indices.contiguous(), _bytes(mask, indices), scale, grad_x,
        batch * length, length, dimension, *grad.stride(), *x.stride(), *grad_x.stride(),
        HAS_MASK=mask is not None, BLOCK_N=block_n, BLOCK_D=block_d, num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
    return grad_x
