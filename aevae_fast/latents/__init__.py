"""Layers with a continuous bottleneck."""

from .beta import BetaLatent
from .dirichlet import DirichletLatent
from .flow_posterior import FlowLatent
from .full_covariance import FullCovarianceGaussianLatent
from .gaussian import GaussianLatent
from .kumaraswamy import KumaraswamyLatent
from .latent import Latent
from .registry import LATENTS, make_latent

__all__ = [
    "LATENTS",
    "BetaLatent",
    "DirichletLatent",
    "FlowLatent",
    "FullCovarianceGaussianLatent",
    "GaussianLatent",
    "KumaraswamyLatent",
    "Latent",
    "make_latent",
]
