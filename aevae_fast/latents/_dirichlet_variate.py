"""Dirichlet and Beta variates as logarithms, with implicit reparameterization gradients."""

import torch
from torch import Tensor

_END = 1e-9  # of total·share·(1 - share): below it the leading term of the derivative is exact to about as much


def log_gamma_variate(concentration: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """ln G of G ~ Gamma(concentration, 1), of concentration's shape and dtype, without gradient.

    G = G' · U^(1/α) with G' ~ Gamma(α + 1), taken as logarithms: at α = 1e-3 half of all G are below e^-690, which no
    dtype holds.
    """
    alpha = concentration.detach()
    exponential = torch.empty_like(alpha).exponential_(generator=generator)
    return torch._standard_gamma(alpha + 1, generator=generator).log() - exponential / alpha


def dirichlet_logits(concentration: Tensor, axis: int, generator: torch.Generator | None = None) -> Tensor:
    """Numbers whose softmax along axis is Dirichlet(concentration), of its shape and dtype.

    A share x of its own concentration α and the total α₀ is Beta(α, α₀ - α). By a change of α at a fixed value of its
    distribution function F its logit moves by -(∂F/∂α) / (∂F/∂ logit x), and the others keep their proportions
    (Figurnov et al. 2018, arXiv:1805.08498). Of ∂F/∂α PyTorch has an approximation, good to about 1e-3. It is taken
    once: second derivatives are 0.
    """
    value = log_gamma_variate(concentration, generator)
    if not (concentration.requires_grad and torch.is_grad_enabled()):
        return value
    alpha = concentration.detach()
    return value + (concentration - alpha) * _slope(alpha, alpha.sum(axis, keepdim=True), value.log_softmax(axis))


def _slope(alpha: Tensor, total: Tensor, log_share: Tensor) -> Tensor:
    """∂ logit x/∂α at fixed F and α₀ - α. At both ends F is a power, where the general form would divide 0 by 0."""
    share, rest = log_share.exp(), -torch.expm1(log_share)
    low, high = total * share < _END, total * rest < _END
    at_low = (torch.digamma(alpha + 1) - torch.digamma(total) - log_share) / alpha
    at_high = (torch.digamma(total) - torch.digamma(alpha)) / (total - alpha)
    inner = share.where(~(low | high), 0.5)
    general = torch._dirichlet_grad(inner, alpha, total.expand_as(alpha)) / inner
    return torch.where(low, at_low, torch.where(high, at_high, general))
