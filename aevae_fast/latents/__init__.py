"""Layers with a continuous bottleneck."""

from .full_covariance import FullCovarianceGaussianLatent
from .gaussian import GaussianLatent

__all__ = ["FullCovarianceGaussianLatent", "GaussianLatent"]
