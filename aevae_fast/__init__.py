"""Fast, exact vector-quantization and VAE layers for PyTorch."""

from . import functional, losses
from .latents import FullCovarianceGaussianLatent, GaussianLatent
from .quantizers import VectorQuantize, update_codebooks

__all__ = [
    "FullCovarianceGaussianLatent",
    "GaussianLatent",
    "VectorQuantize",
    "functional",
    "losses",
    "update_codebooks",
]
__version__ = "0.1.0"
