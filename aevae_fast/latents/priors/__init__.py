"""Priors p(z) of a continuous latent."""

from .beta import BetaPrior
from .dirichlet import DirichletPrior
from .flow import AutoregressivePrior, CouplingPrior, FlowPrior, PlanarPrior, RadialPrior, SplinePrior
from .gaussian import GaussianPrior
from .mixture import MixturePrior
from .prior import Prior
from .registry import PRIORS, make_prior
from .standard import StandardPrior
from .vamp import VampPrior

__all__ = [
    "PRIORS",
    "AutoregressivePrior",
    "BetaPrior",
    "CouplingPrior",
    "DirichletPrior",
    "FlowPrior",
    "GaussianPrior",
    "MixturePrior",
    "PlanarPrior",
    "Prior",
    "RadialPrior",
    "SplinePrior",
    "StandardPrior",
    "VampPrior",
    "make_prior",
]
