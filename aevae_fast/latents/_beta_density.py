"""Log-densities of the Beta and Dirichlet distributions in nats, of z inside the support; in the widest dtype."""

import torch
from torch import Tensor


def beta_log_density(z: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """(α - 1)·ln z + (β - 1)·ln(1 - z) - lnB(α, β), elementwise."""
    log_norm = torch.lgamma(alpha + beta) - torch.lgamma(alpha) - torch.lgamma(beta)
    return torch.xlogy(alpha - 1, z) + torch.special.xlog1py(beta - 1, -z) + log_norm


def dirichlet_log_density(z: Tensor, concentration: Tensor, axis: int) -> Tensor:
    """Σ (α_k - 1)·ln z_k + ln Γ(α₀) - Σ ln Γ(α_k) along axis, with respect to all coordinates but one."""
    log_norm = torch.lgamma(concentration.sum(axis)) - torch.lgamma(concentration).sum(axis)
    return torch.xlogy(concentration - 1, z).sum(axis) + log_norm
