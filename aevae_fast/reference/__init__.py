"""The specification: each operation in plain, obvious, differentiable PyTorch; float64 works."""

from . import philox
from .codebook_statistics import codebook_statistics
from .ema_update import ema_update
from .finite_scalar_quantize import finite_scalar_quantize
from .gaussian_kl import gaussian_kl
from .gaussian_logsumexp import gaussian_logsumexp
from .nearest_code import nearest_code
from .nearest_codes import nearest_codes
from .reparameterize_kl import reparameterize_kl
from .residual_vector_quantize import residual_statistics, residual_vector_quantize
from .rotate_to import rotate_to
from .vector_quantize import vector_quantize

__all__ = [
    "codebook_statistics",
    "ema_update",
    "finite_scalar_quantize",
    "gaussian_kl",
    "gaussian_logsumexp",
    "nearest_code",
    "nearest_codes",
    "philox",
    "reparameterize_kl",
    "residual_statistics",
    "residual_vector_quantize",
    "rotate_to",
    "vector_quantize",
]
