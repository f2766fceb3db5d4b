"""Logarithms of Gamma variates, with implicit reparameterization gradients."""

import torch
from torch import Tensor

_SMALL = 1e-9  # of a variate: below it the derivative's leading term is exact to about as much


def log_gamma_variate(concentration: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """ln G of G ~ Gamma(concentration, 1), of concentration's shape and dtype; Beta and Dirichlet variates are ratios.

    G = G' · U^(1/α) with G' ~ Gamma(α + 1), taken as logarithms: at α = 1e-3 half of all G are below e^-690, which no
    dtype holds. The gradient is the implicit one, -(∂F/∂α) / (∂F/∂ln g) with F the distribution function (Figurnov et
    al. 2018, arXiv:1805.08498), to the 1e-3 of it that PyTorch's approximation of ∂F/∂α is good to. It is taken once:
    second derivatives are 0.
    """
    alpha = concentration.detach()
    exponential = torch.empty_like(alpha).exponential_(generator=generator)
    value = torch._standard_gamma(alpha + 1, generator=generator).log() - exponential / alpha
    if not (concentration.requires_grad and torch.is_grad_enabled()):
        return value
    return value + (concentration - alpha) * _slope(alpha, value)


def _slope(alpha: Tensor, value: Tensor) -> Tensor:
    """∂ ln g/∂α at fixed F. F = g^α/Γ(α + 1) as g → 0, where the general form would divide 0 by 0."""
    variate = value.exp()
    small = variate < _SMALL
    leading = (torch.digamma(alpha + 1) - value) / alpha
    variate = variate.where(~small, 1.0)
    return leading.where(small, torch._standard_gamma_grad(alpha, variate) / variate)
