"""The specification: each operation in plain, obvious, differentiable PyTorch; float64 works."""

from . import philox
from .codebook_statistics import codebook_statistics
from .ema_update import ema_update, replace_dead
from .finite_scalar_quantize import finite_scalar_quantize
from .gaussian_kl import gaussian_kl
from .gaussian_logsumexp import gaussian_logsumexp
from .lookup_free_quantize import code_probabilities, lookup_free_quantize
from .nearest_code import nearest_code
from .nearest_codes import nearest_codes
from .reparameterize_kl import reparameterize_kl
from .residual_vector_quantize import residual_statistics, residual_vector_quantize
from .rotate_to import rotate_to
from .soft_codes import code_cross_entropy, similarity, soft_straight_through, total_assignment
from .vector_quantize import vector_quantize

__all__ = [
    "code_cross_entropy",
    "code_probabilities",
    "codebook_statistics",
    "ema_update",
    "finite_scalar_quantize",
    "gaussian_kl",
    "gaussian_logsumexp",
    "lookup_free_quantize",
    "nearest_code",
    "nearest_codes",
    "philox",
    "reparameterize_kl",
    "replace_dead",
    "residual_statistics",
    "residual_vector_quantize",
    "rotate_to",
    "similarity",
    "soft_straight_through",
    "total_assignment",
    "vector_quantize",
]
