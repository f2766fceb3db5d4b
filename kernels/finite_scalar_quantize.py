"""Finite scalar quantization in one pass over x, and its gradient in another.

    y = bound(gain·(x + shift))·half + centre    digit = round(y) - low    code = (scale·round(y) - origin)/width
    index = Σ_d digit_d·Π_{i<d} levels_i          grad_x = grad·slope·bound'(gain·(x + shift))

The numbers of each dimension are constants of the machine code: levels are few and stay. x in fp16, bf16 or fp32, read
and written through its strides; all arithmetic in fp32. Reference: aevae_fast/reference/finite_scalar_quantize.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl

from .search_rows import FAR, row_pointers

TILE = 2048
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
    N, S, stride_xb, stride_xs, stride_xd, stride_qb, stride_qs, stride_qd,
    LEVELS: tl.constexpr, PLACES: tl.constexpr, HALF: tl.constexpr, SHIFT: tl.constexpr, GAIN: tl.constexpr,
    HARD: tl.constexpr, SYMMETRIC: tl.constexpr, D: tl.constexpr, WIDE: tl.constexpr, HAS_MASK: tl.constexpr,
    HAS_NOISE: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # x, quantized :: [B, S, D] fp16|bf16|fp32   mask :: [B, S] int8   noise :: [B, S, D] fp32 contiguous
    # indices :: [B, S] int64
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    d = tl.arange(0, BLOCK_D)
    live = n < N
    inside = live[:, None] & (d < D)[None, :]
    column = d.to(tl.int64)[None, :]
    rows = row_pointers(x_ptr, n, N, S, stride_xb, stride_xs)
    x = tl.load(rows[:, None] + column * stride_xd, mask=inside, other=0.0).to(tl.float32)
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
    if WIDE:
        index = tl.sum(digit.to(tl.int64) * per_dimension(PLACES, d, D, tl.int64)[None, :], 1)
    else:
        index = tl.sum(digit * per_dimension(PLACES, d, D, tl.int32)[None, :], 1).to(tl.int64)
    if HAS_NOISE:
        noise = tl.load(noise_ptr + n[:, None] * D + column, mask=inside, other=float("nan"))
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
    targets = row_pointers(quantized_ptr, n, N, S, stride_qb, stride_qs)
    tl.store(targets[:, None] + column * stride_qd, code.to(quantized_ptr.dtype.element_ty), mask=inside)
    tl.store(indices_ptr + n, index, mask=live)


@triton.jit
def _finite_scalar_quantize_bwd_kernel(
    grad_ptr, x_ptr, mask_ptr, grad_x_ptr,
    N, S, stride_gb, stride_gs, stride_gd, stride_xb, stride_xs, stride_xd, stride_ob, stride_os, stride_od,
    SLOPE: tl.constexpr, SHIFT: tl.constexpr, GAIN: tl.constexpr, HARD: tl.constexpr, D: tl.constexpr,
    HAS_MASK: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # grad, x, grad_x :: [B, S, D] fp16|bf16|fp32   mask :: [B, S] int8
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    d = tl.arange(0, BLOCK_D)
    live = n < N
    inside = live[:, None] & (d < D)[None, :]
    column = d.to(tl.int64)[None, :]
    grads = row_pointers(grad_ptr, n, N, S, stride_gb, stride_gs)
    rows = row_pointers(x_ptr, n, N, S, stride_xb, stride_xs)
    grad = tl.load(grads[:, None] + column * stride_gd, mask=inside, other=0.0).to(tl.float32)
    x = tl.load(rows[:, None] + column * stride_xd, mask=inside, other=0.0).to(tl.float32)
    z = (x + per_dimension(SHIFT, d, D, tl.float32)[None, :]) * GAIN
    if HARD:
        found = tl.where(tl.abs(z) <= 1.0, grad, 0.0)
    else:
        e = _decay(z)
        found = grad * (4.0 * e / ((1.0 + e) * (1.0 + e)))
    found *= per_dimension(SLOPE, d, D, tl.float32)[None, :]
    if HAS_MASK:
        kept = tl.load(mask_ptr + n, mask=live, other=0) != 0
        found = tl.where(kept[:, None], found, 0.0)
    targets = row_pointers(grad_x_ptr, n, N, S, stride_ob, stride_os)
    tl.store(targets[:, None] + column * stride_od, found.to(grad_x_ptr.dtype.element_ty), mask=inside)


def blocks(dimension: int) -> dict[str, int]:
    """Rows and columns of a tile, which holds whole rows."""
    block_d = triton.next_power_of_2(dimension)
    return {"BLOCK_N": max(16, TILE // block_d), "BLOCK_D": block_d}


def as_bytes(mask: torch.Tensor | None, unread: torch.Tensor) -> torch.Tensor:
    return unread if mask is None else mask.contiguous().view(torch.int8)


def finite_scalar_quantize(
    x: torch.Tensor, levels: Sequence[int], half: Sequence[float], shift: Sequence[float], gain: float, hard: bool,
    symmetric: bool, mask: torch.Tensor | None, noise: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """(quantized like x, indices [B, S] int64) of x [B, S, D]; mask [B, S], True keeps; noise [B, S, D] fp32."""
    batch, length, dimension = x.shape
    quantized = torch.empty_like(x)
    indices = torch.empty((batch, length), dtype=torch.int64, device=x.device)
    if indices.numel() == 0:
        return quantized, indices
    places = [1]
    for count in levels:
        places.append(places[-1] * count)
    form: dict[str, Any] = blocks(dimension)
    _finite_scalar_quantize_kernel[(triton.cdiv(batch * length, form["BLOCK_N"]),)](
        x, as_bytes(mask, indices), x if noise is None else noise.contiguous(), quantized, indices,
        batch * length, length, *x.stride(), *quantized.stride(),
        LEVELS=tuple(levels), PLACES=tuple(places[:-1]), HALF=tuple(half), SHIFT=tuple(shift), GAIN=gain, HARD=hard,
        SYMMETRIC=symmetric, D=dimension, WIDE=places[-1] > 2**31, HAS_MASK=mask is not None,
        HAS_NOISE=noise is not None, **form, num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
    return quantized, indices


def finite_scalar_quantize_backward(
    grad: torch.Tensor, x: torch.Tensor, levels: Sequence[int], half: Sequence[float], shift: Sequence[float],
    gain: float, hard: bool, symmetric: bool, mask: torch.Tensor | None,
) -> torch.Tensor:  # fmt: skip
    """grad times the slope of the bounded x, 0 of masked rows; like x."""
    batch, length, dimension = x.shape
    grad_x = torch.empty_like(x)
    if grad_x.numel() == 0:
        return grad_x
    widths = [(count - 1) / 2 if symmetric else count // 2 for count in levels]
    slope = tuple(h * gain / width for h, width in zip(half, widths, strict=True))
    form: dict[str, Any] = blocks(dimension)
    _finite_scalar_quantize_bwd_kernel[(triton.cdiv(batch * length, form["BLOCK_N"]),)](
        grad, x, as_bytes(mask, x), grad_x, batch * length, length, *grad.stride(), *x.stride(), *grad_x.stride(),
        SLOPE=slope, SHIFT=tuple(shift), GAIN=gain, HARD=hard, D=dimension, HAS_MASK=mask is not None,
        **form, num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
    return grad_x
