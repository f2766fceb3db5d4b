"""Layers with a discrete bottleneck."""

from .loading import LoadsWhole
from .updates import update_codebooks
from .vector_quantize import VectorQuantize

__all__ = ["LoadsWhole", "VectorQuantize", "update_codebooks"]
