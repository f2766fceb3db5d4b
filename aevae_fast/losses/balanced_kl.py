"""`balanced_kl`: a KL divergence that moves its prior faster than its posterior."""

from typing import Any

import torch
from torch import Tensor

from .. import functional


def balanced_kl(
    mean: Tensor, logvar: Tensor, prior_mean: Tensor, prior_logvar: Tensor, *, balance: float = 0.8, **options: Any
) -> Tensor:
    """α·KL(sg[q] ‖ p) + (1 - α)·KL(q ‖ sg[p]), α = balance; Hafner et al. 2021 (arXiv:2010.02193), section 2.2.

    The value is KL(q ‖ p) for every α; the prior p receives α of its gradient, the posterior q 1 - α of its own. Above
    one half the prior learns to follow the posterior rather than the posterior to resemble a prior that has learned
    little yet.

    Args:
        mean, logvar, prior_mean, prior_logvar: as for `functional.gaussian_kl`.
        balance: α, in [0, 1].
        options: parameterization, clamp, reduction, free_bits and impl of `functional.gaussian_kl`.

    Returns:
        nats, float32: 0-d by default, `[B]` for reduction="latent", mean's shape for "none".

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
    """
    if not 0 <= balance <= 1:
        raise ValueError(f"balance must lie in [0, 1]; got {balance}")
    q = [_scale_gradient(tensor, 1 - balance) for tensor in (mean, logvar)]
    p = [_scale_gradient(tensor, balance) for tensor in (prior_mean, prior_logvar)]
    return functional.gaussian_kl(*q, *p, **options)


def _scale_gradient(tensor: Tensor, factor: float) -> Tensor:
    """The same values (x + factor·(x - x)); factor times the gradient: one KL does for the two of the formula."""
    return torch.lerp(tensor.detach(), tensor, factor) if isinstance(tensor, Tensor) else tensor
