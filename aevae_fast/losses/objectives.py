"""The ELBO, the β-VAE's loss with and without a capacity, and bits per dimension."""

import math
from numbers import Real
from typing import Any

from torch import Tensor

from .likelihood import require


def elbo(log_likelihood: Tensor, kl: Tensor) -> Tensor:
    """log p(x | z) - KL(q(z | x) ‖ p(z)), below log p(x) on average over z; Kingma & Welling 2014 (arXiv:1312.6114).

    Both `[B]`, in nats, summed over pixels and over the latent: a mean over either would weigh them against each other.

    Raises:
        TypeError: either is no tensor.
        ValueError: either is not `[B]`.
    """
    _check(log_likelihood, kl)
    return log_likelihood - kl


def beta_vae_loss(
    log_likelihood: Tensor, kl: Tensor, *, beta: float | Tensor = 1.0, capacity: float | Tensor | None = None
) -> Tensor:
    """-log p(x | z) + β·KL, or with a capacity C: -log p(x | z) + β·|KL - C|; means over the batch, 0-d, in nats.

    Without a capacity and with β = 1 it is minus the ELBO (Higgins et al. 2017). A capacity is the KL that the latent
    is held to, raised in training; the absolute value is of the batch's mean (Burgess et al. 2018, arXiv:1804.03599,
    whose γ is β here). An empty batch has means of 0.

    Args:
        log_likelihood, kl: `[B]`, summed over pixels and over the latent.
        beta, capacity: floats, or 0-d tensors, as a schedule gives them.

    Raises:
        TypeError: log_likelihood or kl is no tensor, or beta or capacity no number.
        ValueError: a shape does not fit, or beta or capacity is negative (on CUDA and under `torch.compile` asserted on
            the device, if they are tensors).
    """
    _check(log_likelihood, kl)
    _check_weight("beta", beta)
    count = max(len(kl), 1)
    kl = kl.sum() / count
    if capacity is not None:
        _check_weight("capacity", capacity)
        kl = (kl - capacity).abs()
    return beta * kl - log_likelihood.sum() / count


def bits_per_dim(nats: Tensor, dims: int) -> Tensor:
    """-log p(x) in nats, of dims values together → bits for each of them: nats / (dims·ln 2).

    It is a code length under a likelihood of grey levels; under a Gaussian, a density, it can be negative.
    """
    if dims < 1:
        raise ValueError(f"dims must be at least 1, the number of values in x; got {dims}")
    return nats / (dims * math.log(2))


def _check(log_likelihood: Tensor, kl: Tensor) -> None:
    for name, value in (("log_likelihood", log_likelihood), ("kl", kl)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor of shape [B]; got {type(value).__name__}")
    if log_likelihood.ndim != 1:
        raise ValueError(
            f"log_likelihood must have shape [B], one sum for each image; got {tuple(log_likelihood.shape)}"
        )
    if kl.shape != log_likelihood.shape:
        raise ValueError(
            f"kl must have log_likelihood's shape, {tuple(log_likelihood.shape)}: take reduction='latent'; "
            f"got {tuple(kl.shape)}"
        )


def _check_weight(name: str, value: Any) -> None:
    message = f"{name} must be at least 0 and finite"
    if not isinstance(value, Tensor):
        if not isinstance(value, Real):
            raise TypeError(f"{name} must be a number or a 0-d tensor; got {value!r}")
        if not 0 <= float(value) < math.inf:
            raise ValueError(f"{message}; got {value}")
        return
    if value.ndim:
        raise ValueError(f"{name} must be a float or a 0-d tensor; got shape {tuple(value.shape)}")
    require((value >= 0) & (value < math.inf), message, value)
