"""The codebook made ready for the certified search: centred, split into two bf16 parts, with bias and error bounds.

    c' = c - s                      s: per-dimension median of at most 64 rows (euclidean; 0 for cosine and dot)
    score(x, k) = bias_k - x'·c'_k   has the argmin of the distance; bias_k = ½‖c'_k‖² (euclidean), 0 otherwise
    c' = hi + lo + residual          hi, lo bf16, so that tensor cores at bf16 rate see 16 bits of each code

For a bf16 x the rows stay as they are, exact in one bf16: with only the codes centred the score is
(½‖c'‖² + s·c') - x·c', the bias taking the offset.

Beside the codes stands a tile of 16 more columns, so that one more step of the same product adds the bias (as three
bf16, 24 bits) and takes off a bound of everything that rounding may have added: what comes out is a LOWER bound of the
true score. With ρ the norm of the residual of a split and u = 2^-8 the unit roundoff of bf16 (2u if it truncates),

    |error| ≤ ‖c'‖ (ρ_x + 2u·‖x_lo‖ + κ‖x'‖)  +  ‖x'‖ ρ_c  +  κ (½‖c'‖² + ‖s‖‖c'‖)
               split of x, dropped lo·lo       split of c        bias

κ covers fp32 accumulation, taken as truncating (tensor cores align addends to the largest and cut). A step of 16
products (of 4 inside, if the hardware works in parts) cuts each addend, the accumulator and the sum by at most 2^-23 of
the largest of them, itself at most ‖x‖‖c‖ in a sum over D elements: (4 + 2)/4 = 1.5 cuts an element. The lo products
come first, over all of D, while the accumulator is small: at most 2^-8 of the rest after the first pass, 2^-7 after the
second, 1.2% more in all. So κ = (1.55·D_pad + 32)·2^-23; the 32 pays for the extra step, for c - s and x - s rounded
once, the third bf16 of the bias and the 1% by which hi may exceed its number.
Each bound is rounded up: times 1 + 2^-6, then to nearest bf16.

Not materialised: anything of size N. Reference: aevae_fast/reference, the distance itself.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from .residual_configuration import ResidualConfig

METRICS = ("euclidean", "cosine", "dot")
# Score of a column that pads the codebook; far below fp32's largest, so that no sum overflows into NaN.
PADDING_BIAS = tl.constexpr(1e37)
# Elements of a code that the rescan reads at once, 16 bytes; rows of codes are padded to whole ones.
CODE_STEP = tl.constexpr(4)


class PreparedCodebook(NamedTuple):
    """What the search kernels read; K and D padded with zeros to whole tiles, so that their loop needs no masks."""

    codes: torch.Tensor  # [K, D to a multiple of CODE_STEP] float32: the codes that exact distances are taken to
    split: torch.Tensor  # [K_pad, 2, D_pad] bf16: low and high part of -c'
    extra: torch.Tensor  # [K_pad, 16] bf16: bias in three parts, minus the three bounds, 1 for the lift of search.py
    bounds: torch.Tensor  # [K_pad / GROUP, 4] float32: largest ‖c'‖, ρ_c, bias bound in a group
    largest: torch.Tensor  # 0-d float32: largest ‖c'‖ of all
    shift: torch.Tensor  # [D] float32
    kappa: float


@triton.jit
def _prepare_codebook_kernel(
    codebook_ptr, shift_ptr, codes_ptr, split_ptr, extra_ptr, bounds_ptr,
    K, D, kappa,
    METRIC: tl.constexpr, COPY: tl.constexpr, SHIFT_ROWS: tl.constexpr, PADDED_D: tl.constexpr,
    BLOCK_D: tl.constexpr, EXTRA: tl.constexpr, GROUP_STEPS: tl.constexpr,
):  # fmt: skip
    # codebook :: [K, D] fp32   codes :: [K, width] fp32   shift :: [D] fp32   split :: [K_pad, 2, PADDED_D] bf16
    BLOCK_K: tl.constexpr = 8 * GROUP_STEPS
    width = (D + CODE_STEP - 1) // CODE_STEP * CODE_STEP
    k = tl.program_id(0).to(tl.int64) * BLOCK_K + tl.arange(0, BLOCK_K)
    norm_square = tl.zeros([BLOCK_K], tl.float32)
    offset_square = 0.0
    for start in range(0, PADDED_D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        inside = (k < K)[:, None] & (d < D)[None, :]
        code = tl.load(codebook_ptr + k[:, None] * D + d[None, :], mask=inside, other=0.0)
        if METRIC == "euclidean":
            shift = tl.load(shift_ptr + d, mask=d < D, other=0.0)
            code = tl.where(inside, code - shift[None, :], 0.0)
            if not SHIFT_ROWS:
                offset_square += tl.sum(shift * shift, 0)
        norm_square += tl.sum(code * code, 1)
    # A code so far out that its square overflows never wins: zeros for it, and the bias of padding.
    real = (k < K) & (norm_square < 1e36)
    scale = 1.0 / tl.maximum(tl.sqrt(norm_square), 1e-12)

    square = tl.zeros([BLOCK_K], tl.float32)
    residual_square = tl.zeros([BLOCK_K], tl.float32)
    offset_dot = tl.zeros([BLOCK_K], tl.float32)
    for start in range(0, PADDED_D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        inside = (k < K)[:, None] & (d < D)[None, :]
        code = tl.load(codebook_ptr + k[:, None] * D + d[None, :], mask=inside, other=0.0)
        if METRIC == "cosine":
            code = code * scale[:, None]
        if COPY:
            tl.store(codes_ptr + k[:, None] * width + d[None, :], code, mask=(k < K)[:, None] & (d < width)[None, :])
        if METRIC == "euclidean":
            shift = tl.load(shift_ptr + d, mask=d < D, other=0.0)
            code = tl.where(inside & real[:, None], code - shift[None, :], 0.0)
            offset_dot += tl.sum(code * shift[None, :], 1)
        code = -code
        high = code.to(tl.bfloat16)
        low = (code - high.to(tl.float32)).to(tl.bfloat16)
        residual = code - high.to(tl.float32) - low.to(tl.float32)
        square += tl.sum(code * code, 1)
        residual_square += tl.sum(residual * residual, 1)
        at = split_ptr + k[:, None] * (2 * PADDED_D) + d[None, :]
        tl.store(at, low)
        tl.store(at + PADDED_D, high)

    norm = tl.sqrt(square)
    bias = tl.zeros([BLOCK_K], tl.float32)
    bias_bound = tl.zeros([BLOCK_K], tl.float32)
    if METRIC == "euclidean":
        bias = tl.where(real, 0.5 * square, PADDING_BIAS)
        if not SHIFT_ROWS:
            bias += offset_dot
        bias_bound = kappa * (0.5 * square + tl.sqrt(offset_square) * norm)
    _store_extra(extra_ptr, k, k < K, bias, norm, tl.sqrt(residual_square), bias_bound, EXTRA)
    _store_bounds(bounds_ptr, norm, tl.sqrt(residual_square), bias_bound, GROUP_STEPS)


@triton.jit
def _store_extra(extra_ptr, k, real, bias, norm, residual, bias_bound, EXTRA: tl.constexpr):
    # bias, norm, residual, bias_bound :: [BLOCK_K] fp32; the row's side of the columns is in residual_rows.py
    bias = tl.where(real, tl.minimum(tl.maximum(bias, -PADDING_BIAS), PADDING_BIAS), PADDING_BIAS)
    first = bias.to(tl.bfloat16).to(tl.float32)
    second = (bias - first).to(tl.bfloat16).to(tl.float32)
    third = bias - first - second
    column = tl.arange(0, EXTRA)[None, :]
    value = tl.where(column == 0, first[:, None], 0.0)
    value = tl.where(column == 1, second[:, None], value)
    value = tl.where(column == 2, third[:, None], value)
    up = 1.0 + 1.0 / 64
    value = tl.where(column == 3, -up * norm[:, None], value)
    value = tl.where(column == 4, -up * residual[:, None], value)
    value = tl.where(column == 5, -up * bias_bound[:, None], value)
    value = tl.where(column == 6, 1.0, value)
    value = tl.minimum(tl.maximum(value, -PADDING_BIAS), PADDING_BIAS)
    tl.store(extra_ptr + k[:, None] * EXTRA + column, value.to(tl.bfloat16))


@triton.jit
def _store_bounds(bounds_ptr, norm, residual, bias_bound, GROUP_STEPS: tl.constexpr):
    # Group q of these 8·GROUP_STEPS codes holds columns 8j + 2q and 8j + 2q + 1 for every step j.
    group = tl.program_id(0).to(tl.int64) * 4 + tl.arange(0, 4)
    norm = tl.max(tl.max(tl.reshape(norm, [GROUP_STEPS, 4, 2]), 2), 0)
    residual = tl.max(tl.max(tl.reshape(residual, [GROUP_STEPS, 4, 2]), 2), 0)
    bias_bound = tl.max(tl.max(tl.reshape(bias_bound, [GROUP_STEPS, 4, 2]), 2), 0)
    tl.store(bounds_ptr + group * 4, norm)
    tl.store(bounds_ptr + group * 4 + 1, residual)
    tl.store(bounds_ptr + group * 4 + 2, bias_bound)


def accumulation_bound(config: SearchConfig) -> float:
    """κ of the docstring."""
    return (1.55 * config.padded_d + 32) * 2.0**-23


def shifts_rows(dtype: torch.dtype, metric: str) -> bool:
    """Whether rows are centred as the codes are: bf16 rows stay, exact in one bf16 each."""
    return metric == "euclidean" and dtype != torch.bfloat16


def prepare_codebook(codebook: torch.Tensor, dtype: torch.dtype, metric: str, config: SearchConfig) -> PreparedCodebook:
    """Split, centre and bound a [K, D] float32 codebook for rows of the given dtype."""
    if metric not in METRICS:
        raise ValueError(f"metric: expected one of {METRICS}, got {metric!r}")
    size, dimension = codebook.shape
    padded_k = -(-size // config.block_k) * config.block_k
    if padded_k * config.padded_d >= 2**30:
        raise ValueError(
            f"codebook: expected fewer than 2^30 elements once padded, got [{padded_k}, {config.padded_d}]"
        )
    split = codebook.new_empty((padded_k, 2, config.padded_d), dtype=torch.bfloat16)
    extra = codebook.new_empty((padded_k, EXTRA), dtype=torch.bfloat16)
    bounds = codebook.new_empty((padded_k // GROUP, 4))
    width = -(-dimension // CODE_STEP.value) * CODE_STEP.value
    copy = metric == "cosine" or width > dimension
    codes = codebook.new_empty((size, width)) if copy else codebook
    shift = codebook[0]
    if metric == "euclidean":
        # Sorted, not torch.median: that one has no deterministic CUDA path.
        sample = codebook[:: -(-size // 64)]
        shift = sample.sort(dim=0).values[sample.shape[0] // 2]
    kappa = accumulation_bound(config)
    _prepare_codebook_kernel[(padded_k // (8 * GROUP_STEPS),)](
        codebook, shift, codes, split, extra, bounds,
        size, dimension, kappa,
        METRIC=metric, COPY=copy, SHIFT_ROWS=shifts_rows(dtype, metric), PADDED_D=config.padded_d,
        BLOCK_D=min(config.block_d, 64), EXTRA=EXTRA, GROUP_STEPS=GROUP_STEPS,
        num_warps=8, enable_fp_fusion=True,
    )  # fmt: skip
    return PreparedCodebook(codes, split, extra, bounds, bounds[:, 0].amax(), shift, kappa)
