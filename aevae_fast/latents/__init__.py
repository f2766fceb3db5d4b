"""Layers with a continuous bottleneck."""

from .gaussian import GaussianLatent

__all__ = ["GaussianLatent"]
