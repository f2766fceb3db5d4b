"""What the bounded latents share: the dtype they compute in, concentrations, values strictly inside (0, 1)."""

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .densities import wide_dtype

CONCENTRATIONS = (1e-3, 1e6)


def result_dtype(x: Tensor) -> torch.dtype:
    """What sums over a latent of x's dtype are returned in: float32, float64 for float64."""
    return torch.promote_types(x.dtype, torch.float32)


def concentrations(raw: Tensor, clamp: tuple[float, float]) -> Tensor:
    """softplus(raw) within clamp, in the widest dtype; the gradient is that of softplus at both ends and 0 beyond. What
    is not finite becomes NaN."""
    wide = raw.to(wide_dtype(raw))
    return softplus(wide).clamp(*clamp) + 0 * wide


def inside(z: Tensor, dtype: torch.dtype) -> Tensor:
    """z in [0, 1] as dtype, between its smallest normal number and the last one below 1."""
    limits = torch.finfo(dtype)
    return z.to(dtype).clamp(limits.tiny, 1 - limits.eps / 2)


def check_concentrations(name: str, clamp: object) -> tuple[float, float]:
    """A pair of positive finite bounds in order."""
    if not isinstance(clamp, tuple | list) or len(clamp) != 2 or not all(isinstance(v, int | float) for v in clamp):
        raise TypeError(f"{name} must be a pair of numbers (lo, hi); got {clamp!r}")
    low, high = float(clamp[0]), float(clamp[1])
    if not (0 < low < high and math.isfinite(high)):
        raise ValueError(f"{name} must be (lo, hi) with 0 < lo < hi, both finite; got {clamp!r}")
    return low, high
