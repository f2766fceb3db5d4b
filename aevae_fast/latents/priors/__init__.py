"""Priors p(z) of a continuous latent."""

from .gaussian import GaussianPrior
from .prior import Prior
from .standard import StandardPrior

__all__ = ["GaussianPrior", "Prior", "StandardPrior"]
