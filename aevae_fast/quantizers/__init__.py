"""Layers with a discrete bottleneck."""

from .grouped_residual_vq import GroupedResidualVQ
from .loading import LoadsWhole
from .residual_vq import ResidualVQ
from .updates import update_codebooks
from .vector_quantize import VectorQuantize

__all__ = ["GroupedResidualVQ", "LoadsWhole", "ResidualVQ", "VectorQuantize", "update_codebooks"]
