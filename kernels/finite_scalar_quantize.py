"""Finite scalar quantization in one pass over x, and its gradient in another.

    y = bound(gain·(x + shift))·half + centre    digit = round(y) - low    code = (scale·round(y) - origin)/width
    index = Σ_d digit_d·Π_{i<d} levels_i          grad_x = grad·slope·bound'(gain·(x + shift))

The numbers of each dimension are constants of the machine code: levels are few and stay. x in fp16, bf16 or fp32, read
and written through its strides; all arithmetic in fp32. Reference: aevae_fast/reference/finite_scalar_quantize.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

from .row_tiles import as_bytes, cut, places, tile
from .rows import FAR

# Added to a float32 below 2^22 and taken away again, it rounds to the nearest whole number, half to even.
ROUNDER = tl.constexpr(12582912.0)


@triton.jit
def per_dimension(values: tl.constexpr, d, D: tl.constexpr, dtype: tl.constexpr):
    """values, one for each of D dimensions, as a vector along d; 0 beyond."""
    found = tl.zeros([d.shape[0]], dtype)
    for i in tl.static_range(D):
        found = tl.where(d == i, values[i], found).to(dtype)
    return found


@triton.jit
def _decay(z):
    """exp(-2|z|), of which tanh z and its slope are made: (1 - e)/(1 + e) and 4e/(1 + e)²."""
    return tl.exp(-2.0 * tl.abs(z))


@triton.jit
def _bounded(z, HARD: tl.constexpr):
    if HARD:
        return tl.minimum(tl.maximum(z, -1.0), 1.0)
    else:
        e = _decay(z)
        size = (1.0 - e) / (1.0 + e)
        return tl.where(z < 0.0, -size, size)


@triton.jit
def _finite_scalar_quantize_kernel(
    x_ptr, mask_ptr, noise_ptr, quantized_ptr, indices_ptr,
    S, tiles, stride_xb, stride_xs, stride_xd, stride_qb, stride_qs, stride_qd,
    LEVELS: tl.constexpr, PLACES: tl.constexpr, HALF: tl.constexpr, SHIFT: tl.constexpr, GAIN: tl.constexpr,
    HARD: tl.constexpr, SYMMETRIC: tl.constexpr, LONG: tl.constexpr, HAS_MASK: tl.constexpr, HAS_NOISE: tl.constexpr,
    D: tl.constexpr, WIDE: tl.constexpr, PACKED: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # x, quantized :: [B, S, D] fp16|bf16|fp32   mask :: [B, S] int8   noise :: [B, S, D] fp32 contiguous
    # indices :: [B, S] int64
    b, s, live, n = tile(S, tiles, WIDE, BLOCK_N)
    d = tl.arange(0, BLOCK_D)
    inside = live[:, None] & (d < D)[None, :]
    x = tl.load(places(x_ptr, b, s, d, stride_xb, stride_xs, stride_xd, D, PACKED), mask=inside, other=0.0)
    x = x.to(tl.float32)
    lost = tl.sum(tl.where(tl.abs(x) < FAR, 0, 1), 1) > 0

    count = per_dimension(LEVELS, d, D, tl.int32)
    half = per_dimension(HALF, d, D, tl.float32)
    shift = per_dimension(SHIFT, d, D, tl.float32)
    t = _bounded((x + shift[None, :]) * GAIN, HARD)
    if SYMMETRIC:
        most = (count - 1).to(tl.float32)
        y = t * half[None, :] + (0.5 * most)[None, :]
        level = tl.floor(y + 0.5)
        digit = level.to(tl.int32)
        width = tl.maximum(most, 1.0)
    else:
        y = t * half[None, :] - tl.where(count % 2 == 0, 0.5, 0.0)[None, :]
        level = (y + ROUNDER) - ROUNDER
        digit = level.to(tl.int32) + (count // 2)[None, :]
        width = tl.maximum(count // 2, 1).to(tl.float32)
    if LONG:
        index = tl.sum(digit.to(tl.int64) * per_dimension(PLACES, d, D, tl.int64)[None, :], 1)
    else:
        index = tl.sum(digit * per_dimension(PLACES, d, D, tl.int32)[None, :], 1).to(tl.int64)
    if HAS_NOISE:
        noise = tl.load(noise_ptr + n[:, None] * D + d[None, :], mask=inside, other=float("nan"))
        level = tl.where(noise == noise, y + noise, level)
    if SYMMETRIC:
        level = 2.0 * level - most[None, :]
    code = tl.div_rn(level, tl.broadcast_to(width[None, :], (BLOCK_N, BLOCK_D)))
    code = tl.where(lost[:, None], float("nan"), code)
    index = tl.where(lost, -1, index)
    if HAS_MASK:
        kept = tl.load(mask_ptr + n, mask=live, other=0) != 0
        code = tl.where(kept[:, None], code, 0.0)
        index = tl.where(kept, index, -1)
    targets = places(quantized_ptr, b, s, d, stride_qb, stride_qs, stride_qd, D, PACKED)
    tl.store(targets, code.to(quantized_ptr.dtype.element_ty), mask=inside)
    tl.store(indices_ptr + n, index, mask=live)


@triton.jit
def _finite_scalar_quantize_bwd_kernel(
    grad_ptr, x_ptr, mask_ptr, grad_x_ptr,
    S, tiles, stride_gb, stride_gs, stride_gd, stride_xb, stride_xs, stride_xd, stride_ob, stride_os, stride_od,
    SLOPE: tl.constexpr, SHIFT: tl.constexpr, GAIN: tl.constexpr, HARD: tl.constexpr, HAS_MASK: tl.constexpr,
    D: tl.constexpr, WIDE: tl.constexpr, PACKED: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # grad, x, grad_x :: [B, S, D] fp16|bf16|fp32   mask :: [B, S] int8
    b, s, live, n = tile(S, tiles, WIDE, BLOCK_N)
    d = tl.arange(0, BLOCK_D)
    inside = live[:, None] & (d < D)[None, :]
    grad = tl.load(places(grad_ptr, b, s, d, stride_gb, stride_gs, stride_gd, D, PACKED), mask=inside, other=0.0)
    x = tl.load(places(x_ptr, b, s, d, stride_xb, stride_xs, stride_xd, D, PACKED), mask=inside, other=0.0)
    grad = grad.to(tl.float32)
    z = (x.to(tl.float32) + per_dimension(SHIFT, d, D, tl.float32)[None, :]) * GAIN
    if HARD:
        found = tl.where(tl.abs(z) <= 1.0, grad, 0.0)
    else:
        e = _decay(z)
        found = grad * (4.0 * e / ((1.0 + e) * (1.0 + e)))
    found *= per_dimension(SLOPE, d, D, tl.float32)[None, :]
    if HAS_MASK:
        kept = tl.load(mask_ptr + n, mask=live, other=0) != 0
        found = tl.where(kept[:, None], found, 0.0)
    targets = places(grad_x_ptr, b, s, d, stride_ob, stride_os, stride_od, D, PACKED)
    tl.store(targets, found.to(grad_x_ptr.dtype.element_ty), mask=inside)


def finite_scalar_quantize(
    x: torch.Tensor, levels: Sequence[int], half: Sequence[float], shift: Sequence[float], gain: float, hard: bool,
    symmetric: bool, mask: torch.Tensor | None, noise: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """(quantized like x, indices [B, S] int64) of x [B, S, D]; mask [B, S], True keeps; noise [B, S, D] fp32."""
    quantized = torch.empty_like(x)
    indices = torch.empty(x.shape[:2], dtype=torch.int64, device=x.device)
    if indices.numel() == 0:
        return quantized, indices
    digits = [1]
    for count in levels:
        digits.append(digits[-1] * count)
    form = cut(x, quantized)
    _finite_scalar_quantize_kernel[(form.programs,)](
        x, as_bytes(mask, indices), x if noise is None else noise.contiguous(), quantized, indices,
        form.length, form.tiles, *form.strides,
        LEVELS=tuple(levels), PLACES=tuple(digits[:-1]), HALF=tuple(half), SHIFT=tuple(shift), GAIN=gain, HARD=hard,
        SYMMETRIC=symmetric, LONG=digits[-1] > 2**31, HAS_MASK=mask is not None, HAS_NOISE=noise is not None,
        **form.constants, num_warps=form.warps, enable_fp_fusion=True,
    )  # fmt: skip
    return quantized, indices


def finite_scalar_quantize_backward(
    grad: torch.Tensor, x: torch.Tensor, levels: Sequence[int], half: Sequence[float], shift: Sequence[float],
    gain: float, hard: bool, symmetric: bool, mask: torch.Tensor | None,
) -> torch.Tensor:  # fmt: skip
    """grad times the slope of the bounded x, 0 of masked rows; like x."""
    grad_x = torch.empty_like(x)
    if grad_x.numel() == 0:
        return grad_x
    widths = [(count - 1) / 2 if symmetric else count // 2 for count in levels]
    slope = tuple(h * gain / width for h, width in zip(half, widths, strict=True))
    form = cut(grad, x, grad_x)
    _finite_scalar_quantize_bwd_kernel[(form.programs,)](
        grad, x, as_bytes(mask, x), grad_x, form.length, form.tiles, *form.strides,
        SLOPE=slope, SHIFT=tuple(shift), GAIN=gain, HARD=hard, HAS_MASK=mask is not None,
        **form.constants, num_warps=form.warps, enable_fp_fusion=True,
    )  # fmt: skip
    return grad_x
