"""The stateless public API: check → dispatch → gradient, one file per operation family."""

from ._checks import as_rows
from ._dispatch import Impl
from .codebook_statistics import codebook_statistics
from .ema_update import ema_update_
from .finite_scalar_quantize import finite_scalar_quantize
from .gaussian_kl import gaussian_kl
from .gaussian_logsumexp import gaussian_logsumexp
from .lookup_free_quantize import LookupFree, lookup_free_quantize
from .nearest_code import nearest_code
from .nearest_codes import nearest_codes
from .reparameterize_kl import reparameterize_kl
from .residual_vector_quantize import residual_statistics, residual_vector_quantize
from .rotate_to import rotate_to
from .soft_codes import code_cross_entropy, mean_assignment, sample_codes, soft_straight_through
from .vector_quantize import vector_quantize

__all__ = [
    "Impl",
    "LookupFree",
    "as_rows",
    "code_cross_entropy",
    "codebook_statistics",
    "ema_update_",
    "finite_scalar_quantize",
    "gaussian_kl",
    "gaussian_logsumexp",
    "lookup_free_quantize",
    "mean_assignment",
    "nearest_code",
    "nearest_codes",
    "reparameterize_kl",
    "residual_statistics",
    "residual_vector_quantize",
    "rotate_to",
    "sample_codes",
    "soft_straight_through",
    "vector_quantize",
]
