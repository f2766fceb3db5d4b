"""`iwae_bound`: the importance-weighted bound of log p(x)."""

import math

import torch
from torch import Tensor


def iwae_bound(log_weights: Tensor) -> Tensor:
    """log (1/K) Σ_k w_k, w_k = p(x | z_k)·p(z_k) / q(z_k | x), z_k ~ q(z | x); Burda et al. 2016 (arXiv:1509.00519).

    On average it lies below log p(x), by less the larger K; at K = 1 it is the ELBO. The loss is its negative, with
    the gradient through samples and densities alike.

    Args:
        log_weights: log w, `[K, B]`, nats.

    Returns:
        `[B]`, nats.

    Raises:
        TypeError, ValueError: log_weights is not floating point, not `[K, B]`, or K is 0.
    """
    if not isinstance(log_weights, Tensor) or not log_weights.is_floating_point():
        got = log_weights.dtype if isinstance(log_weights, Tensor) else type(log_weights).__name__
        raise TypeError(f"log_weights must be a floating-point tensor; got {got}")
    if log_weights.ndim != 2 or not len(log_weights):
        raise ValueError(f"log_weights must have shape [K, B], K at least 1; got {tuple(log_weights.shape)}")
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))
