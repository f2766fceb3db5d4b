"""Fast, exact vector-quantization and VAE layers for PyTorch."""

from . import functional, losses
from .latents import FullCovarianceGaussianLatent, GaussianLatent
from .quantizers import (
    BSQ,
    FSQ,
    LFQ,
    GroupedResidualVQ,
    LatentQuantize,
    RandomProjectionQuantizer,
    ResidualFSQ,
    ResidualLFQ,
    ResidualSimVQ,
    ResidualVQ,
    SimVQ,
    VectorQuantize,
    update_codebooks,
)

__all__ = [
    "BSQ",
    "FSQ",
    "LFQ",
    "FullCovarianceGaussianLatent",
    "GaussianLatent",
    "GroupedResidualVQ",
    "LatentQuantize",
    "RandomProjectionQuantizer",
    "ResidualFSQ",
    "ResidualLFQ",
    "ResidualSimVQ",
    "ResidualVQ",
    "SimVQ",
    "VectorQuantize",
    "functional",
    "losses",
    "update_codebooks",
]
__version__ = "0.1.0"
