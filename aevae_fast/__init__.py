"""Fast, exact vector-quantization and VAE layers for PyTorch."""

from . import functional
from .quantizers import VectorQuantize, update_codebooks

__all__ = ["VectorQuantize", "functional", "update_codebooks"]
__version__ = "0.1.0"
