"""The gradient of the log-densities of a mixture (gaussian_logsumexp.py), in one pass for the points and one for the
components.

    grad_z[b] = -Σ_k r_bk·t_bk/σ_k        grad_μ[k] = Σ_b r_bk·t_bk/σ_k        grad_lnσ²[k] = ½ Σ_b r_bk·(t_bk² - 1)

with t = (z - μ)/σ and r what a component counts in a density, times the gradient of that: joint and marginals, summed.
Densities are made anew from what forward returned: no [B, K] tensor. Each program owns the rows, or components, whose
sums it stores: no atomics, and two runs agree bit for bit. Everything in fp32.
Reference: aevae_fast/reference/gaussian_logsumexp.py.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .mixture import dimensions_of_tile, entries, prepare, product, standardized, transposed, turned, weights


@triton.jit
def _whole(
    z_ptr, mean_ptr, scale_ptr, base_ptr, joint_ptr, grad_joint_ptr, weight, row, column, B, K, D, stride_grad,
    HAS_JOINT: tl.constexpr,
):  # fmt: skip
    """What each component counts in the joint density, times its gradient :: [rows, columns]."""
    whole = tl.zeros([row.shape[0], column.shape[0]], tl.float32)
    if HAS_JOINT:
        joint = tl.load(joint_ptr + row, mask=row < B, other=float("inf"))  # inf: rows beyond B count nothing
        grad = tl.load(grad_joint_ptr + row * stride_grad, mask=row < B, other=0.0)
        joint = tl.where(joint == -float("inf"), 0.0, joint)
        log_density = product(z_ptr, mean_ptr, scale_ptr, base_ptr, row, column, B, K, D) + weight
        whole = tl.exp(log_density - joint[:, None]) * grad[:, None]
    return whole


@triton.jit
def _each(marginals_ptr, grad_marginals_ptr, offset_ptr, weight, t, row, column, d, B, K, D):
    """The same of one dimension's marginal :: [rows, columns]."""
    at, inside = entries(row, d, B, D)
    marginal = tl.load(marginals_ptr + at, mask=inside, other=float("inf"))
    marginal = tl.where(marginal == -float("inf"), 0.0, marginal)
    grad = tl.load(grad_marginals_ptr + at, mask=inside, other=0.0)
    at, inside = entries(column, d, K, D)
    offset = tl.load(offset_ptr + at, mask=inside, other=0.0)
    return tl.exp(offset[None, :] - 0.5 * t * t + weight - marginal[:, None]) * grad[:, None]


@triton.jit
def _rows_bwd_kernel(
    z_ptr, mean_ptr, scale_ptr, offset_ptr, base_ptr, weight_ptr, diagonals_ptr, joint_ptr, marginals_ptr,
    grad_joint_ptr, grad_marginals_ptr, grad_z_ptr, B, K, D, stride_grad,
    DIAGONALS: tl.constexpr, HAS_JOINT: tl.constexpr, HAS_MARGINALS: tl.constexpr,
    BLOCK_B: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # marginals, grad_marginals :: [D, B] fp32   offset :: [D, K] fp32   grad_z :: [B, D] like z
    # The rest as in _joint_kernel.
    row = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    first, place = tl.program_id(1) * BLOCK_D, tl.arange(0, BLOCK_D)
    total = tl.zeros([BLOCK_B, BLOCK_D], tl.float32)
    for start in range(0, K, BLOCK_K):
        column = start + tl.arange(0, BLOCK_K)
        weight, _ = weights(weight_ptr, diagonals_ptr, row, column, K, DIAGONALS)
        whole = _whole(
            z_ptr, mean_ptr, scale_ptr, base_ptr, joint_ptr, grad_joint_ptr, weight, row, column, B, K, D, stride_grad,
            HAS_JOINT,
        )  # fmt: skip
        for i in range(BLOCK_D):
            t, scale = standardized(z_ptr, mean_ptr, scale_ptr, row, column, first + i, B, K, D)
            share = whole
            if HAS_MARGINALS:
                share += _each(
                    marginals_ptr, grad_marginals_ptr, offset_ptr, weight, t, row, column, first + i, B, K, D
                )
            step = tl.sum(share * t * scale[None, :], 1)
            total -= tl.where(place[None, :] == i, step[:, None], 0.0)
    d = first + place
    at = row.to(tl.int64)[:, None] * D + d[None, :]
    tl.store(grad_z_ptr + at, total.to(grad_z_ptr.dtype.element_ty), mask=(row < B)[:, None] & (d < D)[None, :])


@triton.jit
def _components_bwd_kernel(
    z_ptr, mean_ptr, scale_ptr, offset_ptr, base_ptr, weight_ptr, diagonals_ptr, joint_ptr, marginals_ptr,
    grad_joint_ptr, grad_marginals_ptr, grad_mean_ptr, grad_logvar_ptr, grad_weight_ptr, B, K, D, stride_grad,
    DIAGONALS: tl.constexpr, HAS_JOINT: tl.constexpr, HAS_MARGINALS: tl.constexpr,
    BLOCK_B: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # grad_mean, grad_logvar :: [K, D]   grad_weight :: [blocks of D, K] fp32, to be summed
    column = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    first, place = tl.program_id(1) * BLOCK_D, tl.arange(0, BLOCK_D)
    to_mean = tl.zeros([BLOCK_K, BLOCK_D], tl.float32)
    to_logvar = tl.zeros([BLOCK_K, BLOCK_D], tl.float32)
    to_weight = tl.zeros([BLOCK_K], tl.float32)
    for start in range(0, B, BLOCK_B):
        row = start + tl.arange(0, BLOCK_B)
        weight, kept = weights(weight_ptr, diagonals_ptr, row, column, K, DIAGONALS)
        whole = _whole(
            z_ptr, mean_ptr, scale_ptr, base_ptr, joint_ptr, grad_joint_ptr, weight, row, column, B, K, D, stride_grad,
            HAS_JOINT,
        )  # fmt: skip
        if first == 0:
            to_weight += tl.sum(tl.where(kept, whole, 0.0), 0)
        for i in range(BLOCK_D):
            t, scale = standardized(z_ptr, mean_ptr, scale_ptr, row, column, first + i, B, K, D)
            share = whole
            if HAS_MARGINALS:
                each = _each(marginals_ptr, grad_marginals_ptr, offset_ptr, weight, t, row, column, first + i, B, K, D)
                to_weight += tl.sum(tl.where(kept, each, 0.0), 0)
                share += each
            here = place[None, :] == i
            to_mean += tl.where(here, (tl.sum(share * t, 0) * scale)[:, None], 0.0)
            to_logvar += tl.where(here, tl.sum(0.5 * share * (t * t - 1.0), 0)[:, None], 0.0)
    d = first + place
    at = column.to(tl.int64)[:, None] * D + d[None, :]
    inside = (column < K)[:, None] & (d < D)[None, :]
    tl.store(grad_mean_ptr + at, to_mean.to(grad_mean_ptr.dtype.element_ty), mask=inside)
    tl.store(grad_logvar_ptr + at, to_logvar.to(grad_logvar_ptr.dtype.element_ty), mask=inside)
    tl.store(grad_weight_ptr + tl.program_id(1) * K + column, to_weight, mask=column < K)


def gaussian_logsumexp_backward(
    grad_joint: torch.Tensor | None, grad_marginals: torch.Tensor | None, joint: torch.Tensor,
    marginals: torch.Tensor, z: torch.Tensor, mean: torch.Tensor, logvar: torch.Tensor,
    log_weight: torch.Tensor | None, diagonals: list[float],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Gradients of z, mean, logvar (their dtype) and of log_weight (fp32 [K]), whose part the diagonals hide."""
    (batch, dimension), size, block_d = z.shape, len(mean), dimensions_of_tile(z.shape[1])
    grad_z, grad_mean, grad_logvar = (
        torch.empty_like(z, memory_format=torch.contiguous_format),
        *(torch.zeros_like(t, memory_format=torch.contiguous_format) for t in (mean, logvar)),
    )
    grad_weight = torch.zeros(triton.cdiv(dimension, block_d), size, device=z.device)
    if batch == 0:
        return grad_z, grad_mean, grad_logvar, grad_weight.sum(0)
    parts = transposed(prepare(mean, logvar, log_weight, diagonals))
    inputs = (
        turned(z), *parts, joint, marginals if grad_marginals is None else turned(marginals),
        joint if grad_joint is None else grad_joint,
        marginals if grad_marginals is None else turned(grad_marginals),
    )  # fmt: skip
    sizes = (batch, size, dimension, 0 if grad_joint is None else grad_joint.stride(0))
    options = {
        "DIAGONALS": len(diagonals), "HAS_JOINT": grad_joint is not None, "HAS_MARGINALS": grad_marginals is not None,
        "BLOCK_B": 32, "BLOCK_K": 32, "BLOCK_D": block_d, "num_warps": 4,
    }  # fmt: skip
    blocks_d = triton.cdiv(dimension, block_d)
    _rows_bwd_kernel[(triton.cdiv(batch, 32), blocks_d)](*inputs, grad_z, *sizes, **options)
    _components_bwd_kernel[(triton.cdiv(size, 32), blocks_d)](
        *inputs, grad_mean, grad_logvar, grad_weight, *sizes, **options
    )
    return grad_z, grad_mean, grad_logvar, grad_weight.sum(0)
