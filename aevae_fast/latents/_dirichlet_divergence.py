"""KL divergences of Dirichlet distributions without cancellation.

KL(Dir(α) ‖ Dir(β)) = Σ_k D(α_k, β_k) - D(α₀, β₀), where D(a, b) = ln Γ(b) - ln Γ(a) - (b - a)·ψ(a) is what ln Γ lies
above its tangent, and α₀, β₀ are the sums. Written with ln Γ and ψ themselves, D of close numbers near 1e6 is the
difference of numbers 1e20 times as large. Here every part of it is a multiple of ((b - a)/a)², which is factored out.
"""

import torch
from torch import Tensor

_SHIFT = 8  # ln Γ(x) = ln Γ(x + 8) - Σ_{i<8} ln(x + i); Stirling's series for the rest, to 1e-9 of it
_SERIES = 0.01  # relative difference below which a power series stands for the difference with a logarithm
_TERMS = 7  # of that series


def dirichlet_divergence(alpha: Tensor, beta: Tensor) -> Tensor:
    """KL(Dir(alpha) ‖ Dir(beta)) over the last axis, in nats; alpha and beta of one shape, positive, float64."""
    total = alpha.sum(-1), beta.sum(-1)
    return (log_gamma_gap(alpha, beta).sum(-1) - log_gamma_gap(*total)).clamp(min=0)


def beta_divergence(alpha: Tensor, beta: Tensor, prior_alpha: Tensor, prior_beta: Tensor) -> Tensor:
    """KL(Beta(alpha, beta) ‖ Beta(prior_alpha, prior_beta)), elementwise, in nats; float64."""
    return dirichlet_divergence(
        torch.stack([alpha, beta], -1), torch.stack([*torch.broadcast_tensors(prior_alpha, prior_beta)], -1)
    )


def log_gamma_gap(a: Tensor, b: Tensor) -> Tensor:
    """D(a, b) = ln Γ(b) - ln Γ(a) - (b - a)·ψ(a), elementwise, 0 or more; to about 1e-9 of itself."""
    steps = torch.arange(_SHIFT, dtype=a.dtype, device=a.device)
    shifted = _log_gap(a[..., None] + steps, b[..., None] + steps).sum(-1)
    a, b = a + _SHIFT, b + _SHIFT
    return shifted + _stirling_gap(a, b)


def _log_gap(a: Tensor, b: Tensor) -> Tensor:
    """h - ln(1 + h), h = (b - a)/a: what -ln lies above its tangent."""
    h = (b - a) / a
    small = h.abs() < _SERIES
    near, far = h.where(small, 0.0), h.where(~small, 1.0)
    series = torch.zeros_like(near)
    for power in range(_TERMS + 1, 1, -1):
        series = 1 / power - near * series
    return torch.where(small, near.square() * series, far - (b / a).where(~small, 2.0).log())


def _stirling_gap(a: Tensor, b: Tensor) -> Tensor:
    """D of Stirling's series (x - ½)·ln x - x + 1/(12x) - 1/(360x³) + 1/(1260x⁵) - 1/(1680x⁷), term by term."""
    ratio, square = b / a, ((b - a) / a).square()
    third = square * _rising(ratio, 3) / b**3
    fifth = square * _rising(ratio, 5) / b**5
    seventh = square * _rising(ratio, 7) / b**7
    gap = b * _log_gap(b, a) + _log_gap(a, b) / 2  # b·(h - ln(1 + h)) of the way back is that of x·ln x - x
    return gap + square / b / 12 - third / 360 + fifth / 1260 - seventh / 1680


def _rising(x: Tensor, power: int) -> Tensor:
    """1 + 2x + 3x² + ... + power·x^(power - 1)."""
    result = torch.full_like(x, power)
    for factor in range(power - 1, 0, -1):
        result = result * x + factor
    return result
