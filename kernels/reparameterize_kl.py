"""Reparameterized sample and KL in one pass over mean and logvar, and their gradient in another.

    z[k] = μ + σ·ε[k]           kl = ½(u² + h(w)) per element, or its sum (diagonal_gaussian.py)
    grad_μ = Σ_k grad_z[k] + grad_kl·u/s      grad_lnσ² = ½σ·Σ_k grad_z[k]·ε[k] + ½·grad_kl·h'(w)

Noise ε is drawn by element (standard_normal.py) in both passes and never stored; no fp32 or permuted copy of an input
is built. Inputs in fp16, bf16 or fp32 through their strides, z contiguous; all arithmetic in fp32; one partial sum a
program or row, so that two runs agree bit for bit. Of n elements of b bytes the forward moves 3·n·b and a float32 KL a
row or program, in one launch beside the sum of those; the backward 5·n·b, in one launch, also where mean and logvar are
halves of one tensor (gaussian_kl.py). Reference: aevae_fast/reference/reparameterize_kl.py.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .diagonal_gaussian import clamped, spread
from .gaussian_kl import gradients
from .gaussian_tiles import bounds, cut, load, new_kl, priors, store_kl, summed, tile, warps
from .standard_normal import native, standard_normal


@triton.jit
def _reparameterize_kl_kernel(
    mean_ptr, logvar_ptr, prior_mean_ptr, prior_logvar_ptr, seed_ptr, z_ptr, kl_ptr,
    R, S, D, samples, blocks_d, stride_zk, stride_mb, stride_ms, stride_md, stride_lb, stride_ls, stride_ld,
    stride_pb, stride_ps, stride_pd, stride_qb, stride_qs, stride_qd, lo, hi, free_bits,
    PARAMETERIZATION: tl.constexpr, CLAMP: tl.constexpr, HAS_PRIOR: tl.constexpr, FREE_BITS: tl.constexpr,
    REDUCTION: tl.constexpr, NATIVE: tl.constexpr, WIDE: tl.constexpr, UNIT: tl.constexpr, FULL: tl.constexpr,
    ALIGN: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # mean, logvar, prior_mean, prior_logvar :: [B, S, D] fp16|bf16|fp32   seed :: [1] int64
    # z :: [samples, B, S, D] like mean   kl :: [B, S, D], [R, blocks_d] or [programs] fp32
    row, column, inside, element, quad = tile(R, D, blocks_d, WIDE, UNIT, FULL, BLOCK_R, BLOCK_D)
    u = load(mean_ptr, row, column, inside, S, stride_mb, stride_ms, stride_md, ALIGN)
    p = load(logvar_ptr, row, column, inside, S, stride_lb, stride_ls, stride_ld, ALIGN)
    mean, prior_logvar = u, p
    if HAS_PRIOR:
        u -= load(prior_mean_ptr, row, column, inside, S, stride_pb, stride_ps, stride_pd, ALIGN)
        prior_logvar = load(prior_logvar_ptr, row, column, inside, S, stride_qb, stride_qs, stride_qd, ALIGN)
    sigma, h, _, scale = spread(clamped(p, lo, hi, CLAMP), prior_logvar, PARAMETERIZATION, HAS_PRIOR, NATIVE)
    seed = tl.load(seed_ptr)
    for k in range(samples):
        z = mean + sigma * standard_normal(seed, quad, k, NATIVE)
        tl.store(z_ptr + element, z.to(z_ptr.dtype.element_ty), mask=inside)
        z_ptr += stride_zk
    u *= scale
    store_kl(kl_ptr, u * u + h, row, element, inside, R, blocks_d, free_bits, FREE_BITS, REDUCTION, FULL)


def reparameterize_kl(
    mean: torch.Tensor, logvar: torch.Tensor, prior_mean: torch.Tensor | None, prior_logvar: torch.Tensor | None,
    seed: torch.Tensor, samples: int, parameterization: str, clamp: list[float] | None, free_bits: float,
    reduction: str,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """(z [samples, B, S, D] like mean, kl fp32: [B, S, D], [B] or []) of [B, S, D] views; "batch" gives the sum."""
    z = mean.new_empty((samples, *mean.shape))
    if mean.numel() == 0:
        return z, summed(mean.new_zeros(mean.shape, dtype=torch.float32), mean.shape[0], reduction)
    form = cut((mean, logvar, prior_mean, prior_logvar), per_row=reduction == "latent")
    kl = new_kl(mean, form, reduction)
    _reparameterize_kl_kernel[(form.programs,)](
        mean, logvar, *priors(mean, prior_mean, prior_logvar), seed, z, kl,
        form.rows, form.length, form.dimension, samples, form.blocks_d, z.stride(0), *form.strides,
        free_bits=free_bits, **bounds(clamp), PARAMETERIZATION=parameterization, HAS_PRIOR=prior_mean is not None,
        FREE_BITS=free_bits > 0, REDUCTION=reduction, NATIVE=native(mean.device), **form.constants,
        num_warps=warps(form, True, prior_mean is not None), enable_fp_fusion=True,
    )  # fmt: skip
    return z, summed(kl, mean.shape[0], reduction)


def reparameterize_kl_backward(
    grad_z: torch.Tensor, grad_kl: torch.Tensor | None, mean: torch.Tensor, logvar: torch.Tensor | None,
    prior_mean: torch.Tensor | None, prior_logvar: torch.Tensor | None, seed: torch.Tensor, parameterization: str,
    clamp: list[float] | None, free_bits: float, prior_grad: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Gradients of mean, logvar (their dtype) and, with prior_grad, of the prior's two (fp32), all [B, S, D]. logvar
    None: mean holds both, [B, 2, S, D], and so does the first gradient, like it; the second is empty."""
    return gradients(
        grad_z, grad_kl, mean, logvar, prior_mean, prior_logvar, seed, parameterization, clamp, free_bits, prior_grad
    )
