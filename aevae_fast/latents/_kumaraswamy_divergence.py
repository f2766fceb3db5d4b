"""KL(Kumaraswamy(a, b) ‖ Beta(α, β)).

    ln(ab) + lnB(α, β) - (b - 1)/b + (a - α)·E[ln x] - (β - 1)·E[ln(1 - x)],    E[ln x] = -(γ + ψ(b + 1))/a

as Nalisnick & Smyth 2017 (arXiv:1605.06197) have it, save for the last term. Their series for E[ln(1 - x)],
-Σ_m b·B(m/a + 1, b)/m, has terms that fall as m^(-1 - b): at small b no affordable number of them will do. Here
that mean is an integral over Exp(1) variates e by the trapezoidal rule in s, e = exp(s - exp(-s)), which converges
exponentially: 94 points are good to 2e-7 · (1 + |E|), their gradient to 1e-4 of it, for a and b
from 1e-3 to 1e6.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from ..functional._autograd import first_order
from ._kumaraswamy_map import complement, kumaraswamy_variate, log_slope

_EULER = 0.5772156649015329
_FIRST, _STEP, _POINTS = -3.4, 0.08, 94


def kumaraswamy_divergence(a: Tensor, b: Tensor, alpha: Tensor, beta: Tensor | None) -> Tensor:
    """KL(Kumaraswamy(a, b) ‖ Beta(alpha, beta)), elementwise, in nats; float64. beta None is 1, where all is in closed
    form; another takes as many tensors of this size as the integral has points, and has first derivatives only: a
    second one is an error."""
    mean_log = -(_EULER + torch.digamma(b + 1)) / a
    kl = (a * b).log() - (b - 1) / b + (a - alpha) * mean_log
    if beta is None:
        return kl - alpha.log()  # lnB(α, 1)
    log_beta = torch.lgamma(alpha) + torch.lgamma(beta) - torch.lgamma(alpha + beta)
    return kl + log_beta - (beta - 1) * mean_log_rest(a, b)


def mean_log_rest(a: Tensor, b: Tensor) -> Tensor:
    """E[ln(1 - x)] of x ~ Kumaraswamy(a, b), elementwise, with its first derivatives; to differentiate these is an
    error."""
    value, _, _ = _MeanLogRest.apply(*torch.broadcast_tensors(a, b))
    return value


class _MeanLogRest(Function):
    """The mean and its derivatives by ln a and ln b, all three by the same sum over points."""

    @staticmethod
    def forward(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        s = torch.arange(_POINTS, dtype=a.dtype, device=a.device).mul(_STEP).add(_FIRST).view(-1, *[1] * a.ndim)
        e = torch.exp(s - torch.exp(-s))
        weight = torch.exp(-e) * e * (1 + torch.exp(-s)) * _STEP
        held = kumaraswamy_variate(e, a, b)
        value = weight * -complement(held).exp()
        slope_a = -weight * log_slope(held).exp()  # ∂ ln(1 - x)/∂ ln a, as held = complement(ln e - ln b) - ln a
        slope_b = slope_a * -(log_slope(e.log() - b.log()) - held - a.log()).exp()
        return value.sum(0), slope_a.sum(0), slope_b.sum(0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor, Tensor]) -> None:
        _, slope_a, slope_b = output
        ctx.mark_non_differentiable(slope_a, slope_b)
        ctx.save_for_backward(*inputs, slope_a, slope_b)

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        a, b, slope_a, slope_b = ctx.saved_tensors
        return grad * slope_a / a, grad * slope_b / b
