"""Lookup-free quantization with its commitment and per-sample entropy in one pass over x, and the gradient in another.

    code_d = ±scale    index = Σ_d [x_d > 0]·2^(D-1-d)    error = Σ (x - code)²    entropy = Σ H(σ(slope·x_d))
    grad_x = grad + error_scale·(x - code) - entropy_scale·slope·l·σ(l)·σ(-l),  l = slope·x

x in fp16, bf16 or fp32, read and written through its strides; all arithmetic in fp32; one partial sum a program, so
that two runs agree bit for bit. Reference: aevae_fast/reference/lookup_free_quantize.py.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .row_tiles import as_bytes, cut, places, tile
from .rows import FAR


@triton.jit
def _entropy(a, e):
    """Of a bit that is 1 with probability σ(±a), e = exp(-a): ln(1 + e) + a·e/(1 + e), exact where e is tiny too.

    ln(1 + e) = 2·artanh y with y = e/(2 + e), at most ⅓: a series whose first term left out is below 2e-8 of it.
    """
    shared = e / ((1.0 + e) * (2.0 + e))
    y = shared * (1.0 + e)
    q = y * y
    series = 2.0 / 11 + q * (2.0 / 13)
    series = 2.0 / 7 + q * (2.0 / 9 + q * series)
    series = 2.0 + q * (2.0 / 3 + q * (2.0 / 5 + q * series))
    return y * series + a * (shared * (2.0 + e))


@triton.jit
def _lookup_free_quantize_kernel(
    x_ptr, mask_ptr, quantized_ptr, indices_ptr, sums_ptr,
    S, tiles, programs, stride_xb, stride_xs, stride_xd, stride_qb, stride_qs, stride_qd, scale, slope,
    HAS_MASK: tl.constexpr, ENTROPY: tl.constexpr,
    D: tl.constexpr, WIDE: tl.constexpr, PACKED: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # x, quantized :: [B, S, D] fp16|bf16|fp32   mask :: [B, S] int8   indices :: [B, S] int64
    # sums :: [2, programs] fp32
    b, s, live, n = tile(S, tiles, WIDE, BLOCK_N)
    d = tl.arange(0, BLOCK_D)
    kept = live
    if HAS_MASK:
        kept = live & (tl.load(mask_ptr + n, mask=live, other=0) != 0)
    inside = live[:, None] & (d < D)[None, :]
    counts = kept[:, None] & (d < D)[None, :]
    x = tl.load(places(x_ptr, b, s, d, stride_xb, stride_xs, stride_xd, D, PACKED), mask=inside, other=0.0)
    x = tl.where(counts, x.to(tl.float32), 0.0)  # after the load, which a mask out of memory would make narrow
    lost = tl.sum(tl.where(tl.abs(x) < FAR, 0, 1), 1) > 0

    above = (x > 0.0) & counts
    if D > 31:
        index = tl.sum(tl.where(above, tl.full([1], 1, tl.int64) << tl.maximum(D - 1 - d, 0)[None, :], 0), 1)
    else:
        index = tl.sum(tl.where(above, 1 << tl.maximum(D - 1 - d, 0)[None, :], 0), 1).to(tl.int64)
    code = tl.where(above, scale, -scale)
    difference = tl.where(counts, x - code, 0.0)
    tl.store(sums_ptr + tl.program_id(0), tl.sum(difference * difference))
    if ENTROPY:
        a = tl.abs(x * slope)
        tl.store(sums_ptr + programs + tl.program_id(0), tl.sum(tl.where(counts, _entropy(a, tl.exp(-a)), 0.0)))
    code = tl.where(counts, tl.where(lost[:, None], float("nan"), code), 0.0)
    index = tl.where(lost | (kept == 0), -1, index)
    targets = places(quantized_ptr, b, s, d, stride_qb, stride_qs, stride_qd, D, PACKED)
    tl.store(targets, code.to(quantized_ptr.dtype.element_ty), mask=inside)
    tl.store(indices_ptr + n, index, mask=live)


@triton.jit
def _lookup_free_quantize_bwd_kernel(
    grad_ptr, x_ptr, mask_ptr, error_scale_ptr, entropy_scale_ptr, grad_x_ptr,
    S, tiles, stride_gb, stride_gs, stride_gd, stride_xb, stride_xs, stride_xd, stride_ob, stride_os, stride_od,
    scale, slope,
    HAS_MASK: tl.constexpr, ENTROPY: tl.constexpr,
    D: tl.constexpr, WIDE: tl.constexpr, PACKED: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # grad, x, grad_x :: [B, S, D] fp16|bf16|fp32   mask :: [B, S] int8   error_scale, entropy_scale :: [] fp32
    b, s, live, n = tile(S, tiles, WIDE, BLOCK_N)
    d = tl.arange(0, BLOCK_D)
    kept = live
    if HAS_MASK:
        kept = live & (tl.load(mask_ptr + n, mask=live, other=0) != 0)
    inside = live[:, None] & (d < D)[None, :]
    counts = kept[:, None] & (d < D)[None, :]
    found = tl.load(places(grad_ptr, b, s, d, stride_gb, stride_gs, stride_gd, D, PACKED), mask=inside, other=0.0)
    x = tl.load(places(x_ptr, b, s, d, stride_xb, stride_xs, stride_xd, D, PACKED), mask=inside, other=0.0)
    x = x.to(tl.float32)
    found = found.to(tl.float32) + tl.load(error_scale_ptr) * (x - tl.where(x > 0.0, scale, -scale))
    if ENTROPY:
        logit = slope * x
        e = tl.exp(-tl.abs(logit))
        found -= tl.load(entropy_scale_ptr) * slope * (logit * (e / ((1.0 + e) * (1.0 + e))))
    found = tl.where(counts, found, 0.0)
    targets = places(grad_x_ptr, b, s, d, stride_ob, stride_os, stride_od, D, PACKED)
    tl.store(targets, found.to(grad_x_ptr.dtype.element_ty), mask=inside)


def lookup_free_quantize(
    x: torch.Tensor, mask: torch.Tensor | None, scale: float, slope: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(quantized like x, indices [B, S] int64, squared error and entropy summed over rows that count, 0-d fp32) of
    x [B, S, D]; mask [B, S], True keeps; slope 0: no entropy is asked for."""
    quantized = torch.empty_like(x)
    indices = torch.empty(x.shape[:2], dtype=torch.int64, device=x.device)
    if indices.numel() == 0:
        nothing = torch.zeros((), dtype=torch.float32, device=x.device)
        return quantized, indices, nothing, nothing.clone()
    form = cut(x, quantized)
    sums = torch.empty(2 if slope else 1, form.programs, dtype=torch.float32, device=x.device)
    _lookup_free_quantize_kernel[(form.programs,)](
        x, as_bytes(mask, indices), quantized, indices, sums,
        form.length, form.tiles, form.programs, *form.strides, scale, slope,
        HAS_MASK=mask is not None, ENTROPY=slope != 0, **form.constants, num_warps=form.warps, enable_fp_fusion=True,
    )  # fmt: skip
    error = sums[0].sum()
    return quantized, indices, error, sums[1].sum() if slope else torch.zeros_like(error)


def lookup_free_quantize_backward(
    grad: torch.Tensor, x: torch.Tensor, mask: torch.Tensor | None, scale: float, slope: float,
    error_scale: torch.Tensor, entropy_scale: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """grad + error_scale·(x - code) + entropy_scale·d(entropy)/dx, 0 of masked rows; like x. Scales: 0-d fp32."""
    grad_x = torch.empty_like(x)
    if grad_x.numel() == 0:
        return grad_x
    form = cut(grad, x, grad_x)
    _lookup_free_quantize_bwd_kernel[(form.programs,)](
        grad, x, as_bytes(mask, x), error_scale, entropy_scale, grad_x, form.length, form.tiles, *form.strides,
        scale, slope,
        HAS_MASK=mask is not None, ENTROPY=slope != 0, **form.constants, num_warps=form.warps, enable_fp_fusion=True,
    )  # fmt: skip
    return grad_x
