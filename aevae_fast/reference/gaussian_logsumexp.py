"""Log-densities of mixtures of diagonal Gaussians, jointly and in each dimension.

The [B, K, D] tensor of log-densities is built here: it is what the fast forms avoid.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def gaussian_logsumexp(
    z: Tensor, mean: Tensor, logvar: Tensor, log_weight: Tensor | None = None, diagonals: Sequence[float] = ()
) -> tuple[Tensor, Tensor]:
    """log Σ_k w_k Π_d N(z_d; μ_kd, σ²_kd) and, for every d, log Σ_k w_k N(z_d; μ_kd, σ²_kd); in nats.

    z [B, D], mean and logvar [K, D], log_weight [K], all 0 where absent; diagonals[j] stands in its place where
    k = b + j modulo K → joint [B], marginals [B, D]; float32 (float64 for float64).
    """
    dtype = torch.promote_types(z.dtype, torch.float32)
    z, mean, logvar = z.to(dtype), mean.to(dtype), logvar.to(dtype)
    standardized = (z[:, None] - mean) * torch.exp(-logvar / 2)
    log_density = -(standardized.square() + logvar + math.log(2 * math.pi)) / 2
    weight = z.new_zeros(len(z), len(mean)) if log_weight is None else log_weight.to(dtype).expand(len(z), -1)
    rows, columns = (torch.arange(len(t), device=z.device) for t in (z, mean))
    for offset, value in enumerate(diagonals):
        weight = torch.where((rows[:, None] + offset) % len(mean) == columns, value, weight)
    return (log_density.sum(2) + weight).logsumexp(1), (log_density + weight[:, :, None]).logsumexp(1)
