"""Layers with a continuous bottleneck."""

from .full_covariance import FullCovarianceGaussianLatent
from .gaussian import GaussianLatent
from .latent import Latent
from .registry import LATENTS, make_latent

__all__ = ["LATENTS", "FullCovarianceGaussianLatent", "GaussianLatent", "Latent", "make_latent"]
