"""The Kumaraswamy distribution, x = (1 - (1 - u)^(1/b))^(1/a), in terms that keep x and 1 - x to relative accuracy.

Numbers p in (0, 1) are held as ln(-ln p). Taking p to 1 - p is then `complement`, a smooth map that is its own inverse,
and powers are additions: no 1 - p is ever formed, so neither end of (0, 1) rounds to 0 or 1.
"""

import math

import torch
from torch import Tensor

_END = {torch.float64: 37.0, torch.float32: 17.0}  # e^-37 is what 1 - p rounds away; smaller, derivatives overflow


def complement(held: Tensor) -> Tensor:
    """ln(-ln(1 - p)) from ln(-ln p)."""
    end = _END[held.dtype]
    below = held < math.log(math.log(2))  # p above ½: -ln p = y is small
    y = held.where(below, -1.0).clamp(min=-end).exp()
    high = -(held.where(below, -1.0) + (-torch.expm1(-y) / y).log())
    y = held.where(~below, 1.0).exp()
    p = (-y.clamp(max=end)).exp()
    return torch.where(below, high.log(), (-torch.log1p(-p) / p).log() - y)


def log_slope(held: Tensor) -> Tensor:
    """ln of the derivative of ln(1 - p) by ln(-ln p) = held: of y/(eʸ - 1), y = -ln p."""
    y = held.clamp(min=-_END[held.dtype]).exp()
    return -y - (-torch.expm1(-y) / y).log()


def kumaraswamy_variate(exponential: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """ln(-ln x) of x ~ Kumaraswamy(a, b), from variates of Exp(1), -ln(1 - u)."""
    return complement(exponential.log() - b.log()) - a.log()


def kumaraswamy_log_density(z: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """ln a + ln b + (a - 1)·ln z + (b - 1)·ln(1 - zᵃ), elementwise, in nats, of z in (0, 1)."""
    log_z = z.log()
    rest = -complement((-log_z).log() + a.log()).exp()
    return a.log() + b.log() + (a - 1) * log_z + (b - 1) * rest


def kumaraswamy_mean(a: Tensor, b: Tensor) -> Tensor:
    """b·B(1 + 1/a, b)."""
    return (torch.lgamma(1 + 1 / a) + torch.lgamma(1 + b) - torch.lgamma(1 + b + 1 / a)).exp()
