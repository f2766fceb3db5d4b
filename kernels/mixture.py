"""What the kernels of `gaussian_logsumexp` share: weights, standardized differences and densities of a tile of points
and components, and the mixture as they read it. Everything in fp32."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import triton
import triton.language as tl


@triton.jit
def weights(weight_ptr, diagonals_ptr, row, column, K, DIAGONALS: tl.constexpr):
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
def entries(index, d, size, D):
    """Where [d, index] lies in a [D, size] tensor, so that neighbours are read together; and whether it is inside."""
    dimension = tl.zeros_like(index) + d
    return dimension.to(tl.int64) * size + index, (index < size) & (dimension < D)


@triton.jit
def standardized(z_ptr, mean_ptr, scale_ptr, row, column, d, B, K, D):
    """(z_d - μ_d)/σ_d :: [rows, columns] of dimension d, and 1/σ_d :: [columns]; 0 outside."""
    at, inside = entries(row, d, B, D)
    z = tl.load(z_ptr + at, mask=inside, other=0.0).to(tl.float32)
    at, inside = entries(column, d, K, D)
    scale = tl.load(scale_ptr + at, mask=inside, other=0.0)
    return (z[:, None] - tl.load(mean_ptr + at, mask=inside, other=0.0)[None, :]) * scale[None, :], scale


@triton.jit
def product(z_ptr, mean_ptr, scale_ptr, base_ptr, row, column, B, K, D):
    """Σ_d ln N(z_d; μ_d, σ²_d) :: [rows, columns]."""
    squares = tl.zeros([row.shape[0], column.shape[0]], tl.float32)
    for d in range(D):
        t, _ = standardized(z_ptr, mean_ptr, scale_ptr, row, column, d, B, K, D)
        squares += t * t
    return tl.load(base_ptr + column, mask=column < K, other=0.0)[None, :] - 0.5 * squares


class Components(NamedTuple):
    """The mixture as the kernels read it: the joint density's and the gradients' [D, K], the marginals' [K, D]."""

    mean: torch.Tensor  # fp32
    scale: torch.Tensor  # fp32: 1/σ
    offset: torch.Tensor  # fp32: -½(ln σ² + ln 2π)
    base: torch.Tensor  # [K] fp32: its sum over D
    weight: torch.Tensor  # [K] fp32
    diagonals: torch.Tensor  # [J] fp32, never empty


def prepare(
    mean: torch.Tensor, logvar: torch.Tensor, log_weight: torch.Tensor | None, diagonals: list[float]
) -> Components:
    mean, logvar = mean.float().contiguous(), logvar.float().contiguous()
    offset = -0.5 * (logvar + math.log(2 * math.pi))
    weight = mean.new_zeros(len(mean)) if log_weight is None else log_weight.contiguous()
    values = mean.new_zeros(max(1, len(diagonals)))
    for j, value in enumerate(diagonals):  # a copy of the list would wait for the device
        values[j].fill_(value)
    return Components(mean, torch.exp(-0.5 * logvar), offset, offset.sum(1), weight, values)


def transposed(parts: Components) -> Components:
    return parts._replace(**{name: turned(getattr(parts, name)) for name in ("mean", "scale", "offset")})


def turned(tensor: torch.Tensor) -> torch.Tensor:
    """[N, D] → [D, N], contiguous."""
    return tensor.T.contiguous()


def dimensions_of_tile(dimension: int) -> int:
    """How many dimensions a program takes, a power of two."""
    return min(64, triton.next_power_of_2(dimension))
