"""Layers with a discrete bottleneck."""

from .updates import update_codebooks
from .vector_quantize import VectorQuantize

__all__ = ["VectorQuantize", "update_codebooks"]
