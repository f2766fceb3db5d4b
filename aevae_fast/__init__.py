"""Fast, exact vector-quantization and VAE layers for PyTorch."""

from . import functional
from .latents import GaussianLatent
from .quantizers import VectorQuantize, update_codebooks

__all__ = ["GaussianLatent", "VectorQuantize", "functional", "update_codebooks"]
__version__ = "0.1.0"
