"""The reparameterized sample and its KL, by autograd alone; Kingma & Welling 2014 (arXiv:1312.6114), equation 10."""

from typing import Any

import torch
from torch import Tensor

from .gaussian_kl import gaussian_kl, log_variance


def reparameterize_kl(
    mean: Tensor,
    logvar: Tensor,
    eps: Tensor,
    prior_mean: Tensor | None = None,
    prior_logvar: Tensor | None = None,
    *,
    parameterization: str = "logvar",
    clamp: tuple[float, float] | list[float] | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """z = mean + σ·eps, of mean's dtype, computed in float32 (float64 for float64), and `gaussian_kl`.

    mean, logvar [B, ...]; eps like them, or [samples, B, ...]."""
    dtype = torch.promote_types(mean.dtype, torch.float32)
    sigma, _ = log_variance(logvar.to(dtype), parameterization, clamp)
    z = (mean.to(dtype) + sigma * eps).to(mean.dtype)
    return z, gaussian_kl(
        mean, logvar, prior_mean, prior_logvar, parameterization=parameterization, clamp=clamp, **options
    )
