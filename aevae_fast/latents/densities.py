"""The density of a diagonal Gaussian, and the dtype for exact ones."""

import math

import torch
from torch import Tensor


def gaussian_log_prob(z: Tensor, mean: Tensor | None = None, logvar: Tensor | None = None) -> Tensor:
    """log N(z; mean, σ²) in nats, summed over the last axis: `[..., D]` → `[...]`. mean and logvar broadcast; 0 where
    absent."""
    square = z.square() if mean is None else (z - mean).square()
    if logvar is not None:
        square = square * torch.exp(-logvar) + logvar
    return -0.5 * (square.sum(-1) + z.shape[-1] * math.log(2 * math.pi))


def wide_dtype(tensor: Tensor) -> torch.dtype:
    """float64; float32 on devices that have none."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64
