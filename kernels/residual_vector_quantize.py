"""Residual vector quantization: all stages of a block of rows in one pass over x, the residual never in memory.

    r_0 = x      i_q = argmin_k ‖r_q - c_qk‖²      r_{q+1} = r_q - c_q[i_q]      quantized = Σ_q c_q[i_q]
    squared_errors[q] = Σ_n ‖r_{q+1}‖²  over kept rows

The rows of a program are fp32 on the chip from the first stage to the last; each stage splits them into bf16 parts,
sweeps its codes and compares the winning ones with the rows again where they are (residual_search.py). Written are
indices, quantized and one partial error a stage and program: N·D·b read, N·D·b + 8·N·Q written, where a launch a stage
would take 12·N·D more a stage. The loop over stages writes nothing. Neither the residuals nor [N, K] distances are
built. x in fp16, bf16 or fp32, read and written through its strides; codes, residuals and errors in fp32; two runs
agree bit for bit. A masked row gets index -1 and zeros, a row that is not finite index -1, NaNs and a NaN error.
Reference: aevae_fast/reference.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .configuration import architecture
from .residual_by_stage import residual_by_stage
from .residual_columns import EXTRA, GROUP
from .residual_configuration import residual_config
from .residual_gradient import residual_statistics, residual_vector_quantize_backward
from .residual_search import nearest_code_of_rows
from .residual_stages import prepare_stages, stage
from .rows import FAR, after, row_pointers
from .rows_on_chip import columns, load_codes, of_rows, sum_of_rows

__all__ = ["residual_statistics", "residual_vector_quantize", "residual_vector_quantize_backward"]

# What is known of a row from the start.
FOUND, NOT_FINITE, MASKED = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)


@triton.jit
def _residual_vector_quantize_kernel(
    x_ptr, mask_ptr, active_ptr, stages_ptr, shift_ptr, largest_ptr, split_ptr, extra_ptr, bounds_ptr, codes_ptr,
    quantized_ptr, indices_ptr, errors_ptr,
    N, S, Q, stride_xb, stride_xs, stride_xd, stride_qb, stride_qs, stride_qd, kappa,
    D: tl.constexpr, STRIDE: tl.constexpr, HAS_MASK: tl.constexpr, HAS_ACTIVE: tl.constexpr, PADDED_Q: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # x, quantized :: [B, S, D] fp16|bf16|fp32   mask :: [B, S] int8   active :: [] int64   stages :: [Q, 4] int32
    # shift :: [Q, D] fp32   largest :: [Q] fp32   codes :: [ΣK, STRIDE] fp32   indices :: [B, S, Q] int64
    # errors :: [programs, Q] fp32
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    live = n < N
    kept = live
    if HAS_MASK:
        kept = live & (tl.load(mask_ptr + n, mask=live, other=0) != 0)
    WIDTH: tl.constexpr = min(BLOCK_D, 32)
    CHUNKS: tl.constexpr = BLOCK_D // WIDTH
    d = columns(CHUNKS, WIDTH)
    rows = row_pointers(x_ptr, n, N, S, stride_xb, stride_xs)
    at = of_rows(rows) + d.to(tl.int64) * stride_xd
    residual = tl.load(at, mask=of_rows(kept) & (d < D), other=0.0).to(tl.float32)
    finite = sum_of_rows(tl.where(tl.abs(residual) < FAR, 0, 1)) == 0
    residual = tl.where(of_rows(kept & finite), residual, 0.0)
    state = tl.where(kept, tl.where(finite, FOUND, NOT_FINITE), MASKED)

    count = Q
    if HAS_ACTIVE:
        count = tl.minimum(tl.maximum(tl.load(active_ptr), 0), Q).to(tl.int32)
    column = tl.arange(0, PADDED_Q)
    indices = tl.full([BLOCK_N, PADDED_Q], -1, tl.int32)
    errors = tl.zeros([PADDED_Q], tl.float32)
    for q in tl.range(count, num_stages=1):
        first, size, first_tile, tiles = stage(stages_ptr, q)
        found = state == FOUND
        place = first_tile.to(tl.int64) * BLOCK_K
        shift = tl.load(shift_ptr + q * D + d, mask=d < D, other=0.0)
        codes = codes_ptr + first.to(tl.int64) * STRIDE
        index = nearest_code_of_rows(
            residual, found, shift, tl.load(largest_ptr + q), split_ptr + place * (2 * BLOCK_D),
            extra_ptr + place * EXTRA, bounds_ptr + place // GROUP * 4, codes, size, tiles, kappa, STRIDE, BLOCK_K,
        )  # fmt: skip
        # Carried, as an overflow may make a residual NaN; and a mask of bytes that reached the products of this stage
        # would have Triton lay them out for bytes.
        state = tl.where(found & (index < 0), NOT_FINITE, state)
        found = state == FOUND
        residual -= load_codes(codes, index, found, STRIDE, CHUNKS, WIDTH)
        indices = tl.where(column[None, :] == q, tl.where(found, first + index, -1)[:, None], indices)
        error = sum_of_rows(residual * residual) + tl.where(state == NOT_FINITE, float("nan"), 0.0)
        errors = tl.where(column == q, tl.sum(error, 0), errors)

    # Of the rows no more than this is kept while the stages run.
    n = after(tl.max(indices, 1) >= -1, tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N))
    live = n < N
    found = state == FOUND
    absent = tl.where(state == NOT_FINITE, float("nan"), 0.0)
    d = columns(CHUNKS, WIDTH)
    tl.store(errors_ptr + tl.program_id(0).to(tl.int64) * Q + column, errors, mask=column < Q)
    first = tl.load(stages_ptr + column * 4, mask=column < Q, other=0)
    tl.store(
        indices_ptr + n[:, None] * Q + column[None, :],
        tl.where(indices >= 0, indices - first[None, :], -1).to(tl.int64),
        mask=live[:, None] & (column < Q)[None, :],
    )

    total = tl.zeros_like(residual)
    for q in tl.range(count, num_stages=1):
        code = tl.max(tl.where(column[None, :] == q, indices, 0), 1)
        total += load_codes(codes_ptr, code, found, STRIDE, CHUNKS, WIDTH)
    targets = row_pointers(quantized_ptr, n, N, S, stride_qb, stride_qs)
    tl.store(
        of_rows(targets) + d.to(tl.int64) * stride_qd,
        tl.where(of_rows(found), total, of_rows(absent)).to(quantized_ptr.dtype.element_ty),
        mask=of_rows(live) & (d < D),
    )


def residual_vector_quantize(
    x: torch.Tensor, codebooks: torch.Tensor, sizes: list[int], active: torch.Tensor | None, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(quantized like x, indices [B, S, Q] int64, squared_errors [Q] float32) of x [B, S, D]; mask [B, S], True keeps;
    active 0-d int64, the number of stages in use."""
    batch, length, dimension = x.shape
    quantized = torch.empty_like(x)
    indices = torch.empty((batch, length, len(sizes)), dtype=torch.int64, device=x.device)
    total = batch * length
    if total == 0:
        return quantized, indices, codebooks.new_zeros(len(sizes))
    config = residual_config(dimension, architecture(x.device))
    if config is None:
        return residual_by_stage(x, codebooks, sizes, active, mask)
    prepared = prepare_stages(codebooks, sizes, config)
    programs = triton.cdiv(total, config.block_n)
    errors = codebooks.new_empty((programs, len(sizes)))
    _residual_vector_quantize_kernel[(programs,)](
        x, indices if mask is None else mask.contiguous().view(torch.int8), indices if active is None else active,
        prepared.stages, prepared.shift, prepared.largest, prepared.split, prepared.extra, prepared.bounds,
        prepared.codes, quantized, indices, errors,
        total, length, len(sizes), *x.stride(), *quantized.stride(), prepared.kappa,
        D=dimension, STRIDE=prepared.codes.shape[1], HAS_MASK=mask is not None, HAS_ACTIVE=active is not None,
        PADDED_Q=triton.next_power_of_2(len(sizes)), BLOCK_N=config.block_n, BLOCK_K=config.block_k,
        BLOCK_D=config.block_d, num_warps=config.num_warps, num_stages=config.num_stages, enable_fp_fusion=True,
    )  # fmt: skip
    return quantized, indices, errors.sum(0)
