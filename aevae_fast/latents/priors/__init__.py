"""Priors p(z) of a continuous latent."""

from .gaussian import GaussianPrior
from .prior import Prior
from .registry import PRIORS, make_prior
from .standard import StandardPrior

__all__ = ["PRIORS", "GaussianPrior", "Prior", "StandardPrior", "make_prior"]
