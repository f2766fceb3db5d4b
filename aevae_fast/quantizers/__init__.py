"""Layers with a discrete bottleneck."""

from .bsq import BSQ
from .fsq import FSQ
from .grouped_residual_vq import GroupedResidualVQ
from .latent_quantize import LatentQuantize
from .lfq import LFQ
from .loading import LoadsWhole
from .random_projection import RandomProjectionQuantizer
from .residual_fsq import ResidualFSQ
from .residual_lfq import ResidualLFQ
from .residual_sim_vq import ResidualSimVQ
from .residual_vq import ResidualVQ
from .sim_vq import SimVQ
from .updates import update_codebooks
from .vector_quantize import VectorQuantize

__all__ = [
    "BSQ",
    "FSQ",
    "LFQ",
    "GroupedResidualVQ",
    "LatentQuantize",
    "LoadsWhole",
    "RandomProjectionQuantizer",
    "ResidualFSQ",
    "ResidualLFQ",
    "ResidualSimVQ",
    "ResidualVQ",
    "SimVQ",
    "VectorQuantize",
    "update_codebooks",
]
