"""Log-densities of a mixture of K diagonal Gaussians at B points, jointly and in each dimension.

    joint[b] = log Σ_k w_bk Π_d N(z_bd; μ_kd, σ²_kd)        marginals[b, d] = log Σ_k w_bk N(z_bd; μ_kd, σ²_kd)

No [B, K] and no [B, K, D] tensor: a maximum and a sum run along k in registers.
z - μ is squared as it is; as a matrix product it would cancel where σ is small. Everything in fp32. Each program owns
the rows, or components, whose sums it stores: no atomics, and two runs agree bit for bit.
ln w_bk is weight[k], or diagonals[j] where k = b + j modulo K.
Reference: aevae_fast/reference/gaussian_logsumexp.py.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .gaussian_logsumexp_bwd import gaussian_logsumexp_backward as gaussian_logsumexp_backward
from .mixture import dimensions_of_tile, prepare, product, transposed, turned, weights


@triton.jit
def _joint_kernel(
    z_ptr, mean_ptr, scale_ptr, base_ptr, weight_ptr, diagonals_ptr, joint_ptr, B, K, D,
    DIAGONALS: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    # z :: [D, B] fp16|bf16|fp32   mean, scale :: [D, K] fp32   base, weight :: [K] fp32   joint :: [B] fp32
    row = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    highest = tl.full([BLOCK_B], -float("inf"), tl.float32)
    total = tl.zeros([BLOCK_B], tl.float32)
    for start in range(0, K, BLOCK_K):
        column = start + tl.arange(0, BLOCK_K)
        weight, _ = weights(weight_ptr, diagonals_ptr, row, column, K, DIAGONALS)
        value = product(z_ptr, mean_ptr, scale_ptr, base_ptr, row, column, B, K, D) + weight
        new = tl.maximum(highest, tl.max(value, 1))
        shift = tl.where(new == -float("inf"), 0.0, new)  # -inf - -inf would be NaN
        total = total * tl.exp(highest - shift) + tl.sum(tl.exp(value - shift[:, None]), 1)
        highest = new
    shift = tl.where(highest == -float("inf"), 0.0, highest)
    tl.store(joint_ptr + row, tl.log(total) + shift, mask=row < B)


@triton.jit
def _marginals_kernel(
    z_ptr, mean_ptr, scale_ptr, offset_ptr, weight_ptr, diagonals_ptr, marginals_ptr, B, K, D,
    DIAGONALS: tl.constexpr, BLOCK_B: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # z :: [B, D] fp16|bf16|fp32   mean, scale, offset :: [K, D] fp32   weight :: [K] fp32   marginals :: [B, D] fp32
    row = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    inside = (row < B)[:, None] & (d < D)[None, :]
    at = row.to(tl.int64)[:, None] * D + d[None, :]
    z = tl.load(z_ptr + at, mask=inside, other=0.0).to(tl.float32)
    highest = tl.full([BLOCK_B, BLOCK_D], -float("inf"), tl.float32)
    total = tl.zeros([BLOCK_B, BLOCK_D], tl.float32)
    component = d.to(tl.int64)
    for k in range(K):
        t = (z - tl.load(mean_ptr + component, mask=d < D, other=0.0)[None, :]) * tl.load(
            scale_ptr + component, mask=d < D, other=0.0
        )[None, :]
        weight = tl.zeros([BLOCK_B], tl.float32) + tl.load(weight_ptr + k)
        for j in tl.static_range(DIAGONALS):
            weight = tl.where((row + j) % K == k, tl.load(diagonals_ptr + j), weight)
        value = tl.load(offset_ptr + component, mask=d < D, other=0.0)[None, :] - 0.5 * t * t + weight[:, None]
        # One exponential for both cases: the new value is the highest so far, or it is not.
        rise = tl.where(value == highest, 0.0, value - highest)  # both may be -inf
        smaller = tl.exp(-tl.abs(rise))
        total = tl.where(rise > 0, total * smaller + 1.0, total + tl.where(value == -float("inf"), 0.0, smaller))
        highest = tl.maximum(highest, value)
        component += D
    shift = tl.where(highest == -float("inf"), 0.0, highest)
    tl.store(marginals_ptr + at, tl.log(total) + shift, mask=inside)


def gaussian_logsumexp(
    z: torch.Tensor, mean: torch.Tensor, logvar: torch.Tensor, log_weight: torch.Tensor | None,
    diagonals: list[float], per_dim: bool,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """z [B, D], mean and logvar [K, D], log_weight [K] fp32 → joint [B], marginals [B, D] (empty unless per_dim)."""
    (batch, dimension), size = z.shape, len(mean)
    joint = torch.empty(batch, device=z.device)
    marginals = torch.empty((batch, dimension) if per_dim else (0,), device=z.device)
    if batch == 0:
        return joint, marginals
    parts = prepare(mean, logvar, log_weight, diagonals)
    sizes, across = (batch, size, dimension), transposed(parts)
    _joint_kernel[(triton.cdiv(batch, 32),)](
        turned(z), across.mean, across.scale, parts.base, parts.weight, parts.diagonals, joint, *sizes,
        DIAGONALS=len(diagonals), BLOCK_B=32, BLOCK_K=64, num_warps=4,
    )  # fmt: skip
    if per_dim:
        block_d = dimensions_of_tile(dimension)
        block_b = max(4, 512 // block_d)
        _marginals_kernel[(triton.cdiv(batch, block_b), triton.cdiv(dimension, block_d))](
            z.contiguous(), parts.mean, parts.scale, parts.offset, parts.weight, parts.diagonals, marginals, *sizes,
            DIAGONALS=len(diagonals), BLOCK_B=block_b, BLOCK_D=block_d, num_warps=4,
        )  # fmt: skip
    return joint, marginals
