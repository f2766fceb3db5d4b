"""Log-densities of a mixture of K diagonal Gaussians at B points, jointly and in each dimension, and their gradient.

    joint[b] = log Σ_k w_bk Π_d N(z_bd; μ_kd, σ²_kd)        marginals[b, d] = log Σ_k w_bk N(z_bd; μ_kd, σ²_kd)

No [B, K] and no [B, K, D] tensor: a maximum and a sum run along k in registers, and backward makes the densities anew.
z - μ is squared as it is; as a matrix product it would cancel where σ is small. Everything in fp32. Each program owns
the rows, or components, whose sums it stores: no atomics, and two runs agree bit for bit.
ln w_bk is weight[k], or diagonals[j] where k = b + j modulo K.
Reference: aevae_fast/reference/gaussian_logsumexp.py.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import triton
import triton.language as tl


@triton.jit
def _weights(weight_ptr, diagonals_ptr, row, column, K, DIAGONALS: tl.constexpr):
    """ln w :: [rows, columns], -inf beyond K; and whether it is weight's."""
    weight = tl.load(weight_ptr + column, mask=column < K, other=-float("inf"))[None, :]
    weight = tl.broadcast_to(weight, [row.shape[0], column.shape[0]])
    kept = weight == weight
    for j in tl.static_range(DIAGONALS):
        here = (row[:, None] + j) % K == column[None, :]
        weight = tl.where(here, tl.load(diagonals_ptr + j), weight)
        kept = kept & (here == 0)
    return weight, kept


@triton.jit
def _place(index, d, size, D):
    """Where [d, index] lies in a [D, size] tensor, so that neighbours are read together; and whether it is inside."""
    dimension = tl.zeros_like(index) + d
    return dimension.to(tl.int64) * size + index, (index < size) & (dimension < D)


@triton.jit
def _standardized(z_ptr, mean_ptr, scale_ptr, row, column, d, B, K, D):
    """(z_d - μ_d)/σ_d :: [rows, columns] of dimension d, and 1/σ_d :: [columns]; 0 outside."""
    at, inside = _place(row, d, B, D)
    z = tl.load(z_ptr + at, mask=inside, other=0.0).to(tl.float32)
    at, inside = _place(column, d, K, D)
    scale = tl.load(scale_ptr + at, mask=inside, other=0.0)
    return (z[:, None] - tl.load(mean_ptr + at, mask=inside, other=0.0)[None, :]) * scale[None, :], scale


@triton.jit
def _product(z_ptr, mean_ptr, scale_ptr, base_ptr, row, column, B, K, D):
    """Σ_d ln N(z_d; μ_d, σ²_d) :: [rows, columns]."""
    squares = tl.zeros([row.shape[0], column.shape[0]], tl.float32)
    for d in range(D):
        t, _ = _standardized(z_ptr, mean_ptr, scale_ptr, row, column, d, B, K, D)
        squares += t * t
    return tl.load(base_ptr + column, mask=column < K, other=0.0)[None, :] - 0.5 * squares


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
        weight, _ = _weights(weight_ptr, diagonals_ptr, row, column, K, DIAGONALS)
        value = _product(z_ptr, mean_ptr, scale_ptr, base_ptr, row, column, B, K, D) + weight
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
        product = _product(z_ptr, mean_ptr, scale_ptr, base_ptr, row, column, B, K, D) + weight
        whole = tl.exp(product - joint[:, None]) * grad[:, None]
    return whole


@triton.jit
def _each(marginals_ptr, grad_marginals_ptr, offset_ptr, weight, t, row, column, d, B, K, D):
    """The same of one dimension's marginal :: [rows, columns]."""
    at, inside = _place(row, d, B, D)
    marginal = tl.load(marginals_ptr + at, mask=inside, other=float("inf"))
    marginal = tl.where(marginal == -float("inf"), 0.0, marginal)
    grad = tl.load(grad_marginals_ptr + at, mask=inside, other=0.0)
    at, inside = _place(column, d, K, D)
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
        weight, _ = _weights(weight_ptr, diagonals_ptr, row, column, K, DIAGONALS)
        whole = _whole(
            z_ptr, mean_ptr, scale_ptr, base_ptr, joint_ptr, grad_joint_ptr, weight, row, column, B, K, D, stride_grad,
            HAS_JOINT,
        )  # fmt: skip
        for i in range(BLOCK_D):
            t, scale = _standardized(z_ptr, mean_ptr, scale_ptr, row, column, first + i, B, K, D)
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
        weight, kept = _weights(weight_ptr, diagonals_ptr, row, column, K, DIAGONALS)
        whole = _whole(
            z_ptr, mean_ptr, scale_ptr, base_ptr, joint_ptr, grad_joint_ptr, weight, row, column, B, K, D, stride_grad,
            HAS_JOINT,
        )  # fmt: skip
        if first == 0:
            to_weight += tl.sum(tl.where(kept, whole, 0.0), 0)
        for i in range(BLOCK_D):
            t, scale = _standardized(z_ptr, mean_ptr, scale_ptr, row, column, first + i, B, K, D)
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


class _Components(NamedTuple):
    """The mixture as the kernels read it: the joint density's and the gradients' [D, K], the marginals' [K, D]."""

    mean: torch.Tensor  # fp32
    scale: torch.Tensor  # fp32: 1/σ
    offset: torch.Tensor  # fp32: -½(ln σ² + ln 2π)
    base: torch.Tensor  # [K] fp32: its sum over D
    weight: torch.Tensor  # [K] fp32
    diagonals: torch.Tensor  # [J] fp32, never empty


def _prepare(
    mean: torch.Tensor, logvar: torch.Tensor, log_weight: torch.Tensor | None, diagonals: list[float]
) -> _Components:
    mean, logvar = mean.float().contiguous(), logvar.float().contiguous()
    offset = -0.5 * (logvar + math.log(2 * math.pi))
    weight = mean.new_zeros(len(mean)) if log_weight is None else log_weight.contiguous()
    values = torch.tensor(diagonals or [0.0], device=mean.device)
    return _Components(mean, torch.exp(-0.5 * logvar), offset, offset.sum(1), weight, values)


def _transposed(parts: _Components) -> _Components:
    return parts._replace(**{name: _turned(getattr(parts, name)) for name in ("mean", "scale", "offset")})


def _turned(tensor: torch.Tensor) -> torch.Tensor:
    """[N, D] → [D, N], contiguous."""
    return tensor.T.contiguous()


def _block_d(dimension: int) -> int:
    return min(64, triton.next_power_of_2(dimension))


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
    parts = _prepare(mean, logvar, log_weight, diagonals)
    sizes, turned = (batch, size, dimension), _transposed(parts)
    _joint_kernel[(triton.cdiv(batch, 32),)](
        _turned(z), turned.mean, turned.scale, parts.base, parts.weight, parts.diagonals, joint, *sizes,
        DIAGONALS=len(diagonals), BLOCK_B=32, BLOCK_K=64, num_warps=4,
    )  # fmt: skip
    if per_dim:
        block_d = _block_d(dimension)
        block_b = max(4, 512 // block_d)
        _marginals_kernel[(triton.cdiv(batch, block_b), triton.cdiv(dimension, block_d))](
            z.contiguous(), parts.mean, parts.scale, parts.offset, parts.weight, parts.diagonals, marginals, *sizes,
            DIAGONALS=len(diagonals), BLOCK_B=block_b, BLOCK_D=block_d, num_warps=4,
        )  # fmt: skip
    return joint, marginals


def gaussian_logsumexp_backward(
    grad_joint: torch.Tensor | None, grad_marginals: torch.Tensor | None, joint: torch.Tensor,
    marginals: torch.Tensor, z: torch.Tensor, mean: torch.Tensor, logvar: torch.Tensor,
    log_weight: torch.Tensor | None, diagonals: list[float],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Gradients of z, mean, logvar (their dtype) and of log_weight (fp32 [K]), whose part the diagonals hide."""
    (batch, dimension), size, block_d = z.shape, len(mean), _block_d(z.shape[1])
    grad_z, grad_mean, grad_logvar = (
        torch.empty_like(z, memory_format=torch.contiguous_format),
        *(torch.zeros_like(t, memory_format=torch.contiguous_format) for t in (mean, logvar)),
    )
    grad_weight = torch.zeros(triton.cdiv(dimension, block_d), size, device=z.device)
    if batch == 0:
        return grad_z, grad_mean, grad_logvar, grad_weight.sum(0)
    parts = _transposed(_prepare(mean, logvar, log_weight, diagonals))
    inputs = (
        _turned(z), *parts, joint, marginals if grad_marginals is None else _turned(marginals),
        joint if grad_joint is None else grad_joint,
        marginals if grad_marginals is None else _turned(grad_marginals),
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
