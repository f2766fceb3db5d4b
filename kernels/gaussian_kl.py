"""KL between diagonal Gaussians, and the gradient of it, alone or together with that of the reparameterized sample.

    kl = ½(u² + h(w)) per element, or its sum (diagonal_gaussian.py)
    grad_μ = Σ_k grad_z[k] + grad_kl·u/s      grad_lnσ² = ½σ·Σ_k grad_z[k]·ε[k] + ½·grad_kl·h'(w)

Inputs in fp16, bf16 or fp32 through their strides; all arithmetic in fp32; one partial sum a program or row, so that
two runs agree bit for bit. Where mean and logvar are the halves of one tensor, their gradients are written as halves of
one tensor laid out alike: joining two would read and write both once more, 4·n·b bytes beside the 5·n·b of the pass
with the sample's gradient. One launch. Reference: aevae_fast/reference/gaussian_kl.py.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .diagonal_gaussian import clamped, spread, spread_slope
from .gaussian_tiles import bounds, cut, load, new_kl, places, priors, store_kl, summed, tile, warps
from .standard_normal import native, standard_normal


@triton.jit
def _gaussian_kl_kernel(
    mean_ptr, logvar_ptr, prior_mean_ptr, prior_logvar_ptr, kl_ptr,
    R, S, D, blocks_d, stride_mb, stride_ms, stride_md, stride_lb, stride_ls, stride_ld,
    stride_pb, stride_ps, stride_pd, stride_qb, stride_qs, stride_qd, lo, hi, free_bits,
    PARAMETERIZATION: tl.constexpr, CLAMP: tl.constexpr, HAS_PRIOR: tl.constexpr, FREE_BITS: tl.constexpr,
    REDUCTION: tl.constexpr, NATIVE: tl.constexpr, WIDE: tl.constexpr, UNIT: tl.constexpr, FULL: tl.constexpr,
    ALIGN: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # mean, logvar, prior_mean, prior_logvar :: [B, S, D] fp16|bf16|fp32
    # kl :: [B, S, D], [R, blocks_d] or [programs] fp32
    row, column, inside, element, _ = tile(R, D, blocks_d, WIDE, UNIT, FULL, BLOCK_R, BLOCK_D)
    u = load(mean_ptr, row, column, inside, S, stride_mb, stride_ms, stride_md, ALIGN)
    p = load(logvar_ptr, row, column, inside, S, stride_lb, stride_ls, stride_ld, ALIGN)
    prior_logvar = p
    if HAS_PRIOR:
        u -= load(prior_mean_ptr, row, column, inside, S, stride_pb, stride_ps, stride_pd, ALIGN)
        prior_logvar = load(prior_logvar_ptr, row, column, inside, S, stride_qb, stride_qs, stride_qd, ALIGN)
    _, h, _, scale = spread(clamped(p, lo, hi, CLAMP), prior_logvar, PARAMETERIZATION, HAS_PRIOR, NATIVE)
    u *= scale
    store_kl(kl_ptr, u * u + h, row, element, inside, R, blocks_d, free_bits, FREE_BITS, REDUCTION, FULL)


@triton.jit
def _gaussian_bwd_kernel(
    grad_z_ptr, grad_kl_ptr, mean_ptr, logvar_ptr, prior_mean_ptr, prior_logvar_ptr, seed_ptr,
    grad_mean_ptr, grad_logvar_ptr, grad_prior_mean_ptr, grad_prior_logvar_ptr,
    R, S, D, samples, blocks_d, stride_zk, stride_kb, stride_mb, stride_ms, stride_md, stride_lb, stride_ls, stride_ld,
    stride_pb, stride_ps, stride_pd, stride_qb, stride_qs, stride_qd, stride_gb, stride_gs, stride_gd,
    lo, hi, free_bits,
    PARAMETERIZATION: tl.constexpr, CLAMP: tl.constexpr, HAS_PRIOR: tl.constexpr, FREE_BITS: tl.constexpr,
    HAS_Z: tl.constexpr, HAS_KL: tl.constexpr, PER_ELEMENT: tl.constexpr, PRIOR_GRAD: tl.constexpr,
    NATIVE: tl.constexpr, WIDE: tl.constexpr, UNIT: tl.constexpr, FULL: tl.constexpr, ALIGN: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # grad_z :: [samples, B, S, D] like mean   grad_kl :: [B, S, D] or [B] fp32   seed :: [1] int64
    # mean, logvar, prior_mean, prior_logvar :: [B, S, D] fp16|bf16|fp32   grad_* :: [B, S, D], the prior's contiguous
    row, column, inside, element, quad = tile(R, D, blocks_d, WIDE, UNIT, FULL, BLOCK_R, BLOCK_D)
    u = load(mean_ptr, row, column, inside, S, stride_mb, stride_ms, stride_md, ALIGN)
    p = load(logvar_ptr, row, column, inside, S, stride_lb, stride_ls, stride_ld, ALIGN)
    prior_logvar = p
    if HAS_PRIOR:
        u -= load(prior_mean_ptr, row, column, inside, S, stride_pb, stride_ps, stride_pd, ALIGN)
        prior_logvar = load(prior_logvar_ptr, row, column, inside, S, stride_qb, stride_qs, stride_qd, ALIGN)
    kept = clamped(p, lo, hi, CLAMP)
    sigma, h, slope, scale = spread(kept, prior_logvar, PARAMETERIZATION, HAS_PRIOR, NATIVE)
    u *= scale
    grad_mean = tl.zeros([BLOCK_R, BLOCK_D], tl.float32)
    grad_spread = tl.zeros([BLOCK_R, BLOCK_D], tl.float32)  # to ln σ², or to σ where that is given: it may be 0
    if HAS_Z:
        seed = tl.load(seed_ptr)
        for k in range(samples):
            grad_z = tl.load(grad_z_ptr + element, mask=inside).to(tl.float32)
            grad_z_ptr += stride_zk
            grad_mean += grad_z
            grad_spread += grad_z * standard_normal(seed, quad, k, NATIVE)
        if PARAMETERIZATION != "std":
            grad_spread *= 0.5 * sigma
    if HAS_KL:
        if PER_ELEMENT:
            grad_kl = tl.load(grad_kl_ptr + element, mask=inside)
        else:
            grad_kl = tl.load(grad_kl_ptr + row // S * stride_kb, mask=row < R)[:, None]
        if FREE_BITS:
            grad_kl = tl.where(u * u + h < 2.0 * free_bits, 0.0, grad_kl)
        grad_u = grad_kl * u * scale
        grad_w = 0.5 * grad_kl * slope
        grad_mean += grad_u
        grad_spread += 2.0 * grad_w / sigma if PARAMETERIZATION == "std" else grad_w
        if PRIOR_GRAD:
            tl.store(grad_prior_mean_ptr + element, -grad_u, mask=inside)
            tl.store(grad_prior_logvar_ptr + element, -grad_w - 0.5 * grad_kl * u * u, mask=inside)
    grad_spread *= spread_slope(kept, sigma, PARAMETERIZATION)
    if CLAMP:
        grad_spread = tl.where((p < lo) | (p > hi), 0.0, grad_spread)
    of_mean = places(grad_mean_ptr, row, column, S, stride_gb, stride_gs, stride_gd, ALIGN)
    of_logvar = places(grad_logvar_ptr, row, column, S, stride_gb, stride_gs, stride_gd, ALIGN)
    tl.store(of_mean, grad_mean.to(grad_mean_ptr.dtype.element_ty), mask=inside)
    tl.store(of_logvar, grad_spread.to(grad_logvar_ptr.dtype.element_ty), mask=inside)


def gaussian_kl(
    mean: torch.Tensor, logvar: torch.Tensor, prior_mean: torch.Tensor | None, prior_logvar: torch.Tensor | None,
    parameterization: str, clamp: list[float] | None, free_bits: float, reduction: str,
) -> torch.Tensor:  # fmt: skip
    """KL of [B, S, D] views, fp32: [B, S, D] for "none", [B] for "latent", the whole sum for "batch"."""
    if mean.numel() == 0:
        return summed(mean.new_zeros(mean.shape, dtype=torch.float32), mean.shape[0], reduction)
    form = cut((mean, logvar, prior_mean, prior_logvar), per_row=reduction == "latent")
    kl = new_kl(mean, form, reduction)
    _gaussian_kl_kernel[(form.programs,)](
        mean, logvar, *priors(mean, prior_mean, prior_logvar), kl,
        form.rows, form.length, form.dimension, form.blocks_d, *form.strides, free_bits=free_bits, **bounds(clamp),
        PARAMETERIZATION=parameterization, HAS_PRIOR=prior_mean is not None, FREE_BITS=free_bits > 0,
        REDUCTION=reduction, NATIVE=native(mean.device), **form.constants, num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
    return summed(kl, mean.shape[0], reduction)


def gaussian_kl_backward(
    grad_kl: torch.Tensor, mean: torch.Tensor, logvar: torch.Tensor | None, prior_mean: torch.Tensor | None,
    prior_logvar: torch.Tensor | None, parameterization: str, clamp: list[float] | None, free_bits: float,
    prior_grad: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Gradients of mean, logvar (their dtype) and, with prior_grad, of the prior's two (fp32), all [B, S, D]. logvar
    None: mean holds both, [B, 2, S, D], and so does the first gradient, like it; the second is empty."""
    return gradients(
        None, grad_kl, mean, logvar, prior_mean, prior_logvar, None, parameterization, clamp, free_bits, prior_grad
    )


def gradients(
    grad_z: torch.Tensor | None, grad_kl: torch.Tensor | None, mean: torch.Tensor, logvar: torch.Tensor | None,
    prior_mean: torch.Tensor | None, prior_logvar: torch.Tensor | None, seed: torch.Tensor | None,
    parameterization: str, clamp: list[float] | None, free_bits: float, prior_grad: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Of mean, logvar, or of both in one and nothing, and the prior (empty without prior_grad). grad_kl: [B, S, D], [B]
    or []."""
    if logvar is None:
        found = torch.empty_like(mean), mean.new_empty(0)
        (mean, logvar), (grad_mean, grad_logvar) = mean.unbind(1), found[0].unbind(1)
    else:
        found = grad_mean, grad_logvar = mean.new_empty(mean.shape), logvar.new_empty(mean.shape)
    shape = mean.shape if prior_grad else (0,)
    new = mean.new_zeros if grad_kl is None else mean.new_empty
    grad_m, grad_s = (new(shape, dtype=torch.float32) for _ in range(2))
    if mean.numel() == 0:
        return *found, grad_m, grad_s
    views = (mean, logvar, prior_mean, prior_logvar, grad_mean, grad_logvar)
    form = cut(views, per_sample=grad_kl is not None and grad_kl.ndim == 1)
    per_element = grad_kl is not None and grad_kl.ndim == 3
    _gaussian_bwd_kernel[(form.programs,)](
        mean if grad_z is None else grad_z.contiguous(),
        mean if grad_kl is None else grad_kl.contiguous() if per_element else grad_kl,
        mean, logvar, *priors(mean, prior_mean, prior_logvar), seed, grad_mean, grad_logvar, grad_m, grad_s,
        form.rows, form.length, form.dimension, 1 if grad_z is None else grad_z.shape[0], form.blocks_d, mean.numel(),
        grad_kl.stride(0) if grad_kl is not None and grad_kl.ndim == 1 else 0,
        *form.strides[:15], free_bits=free_bits, **bounds(clamp),
        PARAMETERIZATION=parameterization, HAS_PRIOR=prior_mean is not None, FREE_BITS=free_bits > 0,
        HAS_Z=grad_z is not None, HAS_KL=grad_kl is not None, PER_ELEMENT=per_element, PRIOR_GRAD=prior_grad,
        NATIVE=native(mean.device), **form.constants,
        num_warps=warps(form, grad_z is not None, prior_mean is not None), enable_fp_fusion=True,
    )  # fmt: skip
    return *found, grad_m, grad_s
