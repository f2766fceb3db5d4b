"""Each operation in fast, bounded-memory PyTorch: the CPU, and any device that Triton does not serve."""

from .candidates import note_candidates_
from .code_probabilities import code_probabilities, code_probabilities_backward
from .codebook_statistics import codebook_statistics
from .ema_update import ema_update_
from .finite_scalar_quantize import finite_scalar_quantize, finite_scalar_quantize_backward
from .gaussian_kl import gaussian_kl, gaussian_kl_backward
from .gaussian_logsumexp import gaussian_logsumexp, gaussian_logsumexp_backward
from .lookup_free_quantize import lookup_free_quantize, lookup_free_quantize_backward
from .nearest_code import nearest_code
from .nearest_codes import nearest_codes
from .reparameterize_kl import reparameterize_kl, reparameterize_kl_backward
from .residual_vector_quantize import (
    residual_statistics,
    residual_vector_quantize,
    residual_vector_quantize_backward,
)
from .soft_codes import (
    code_cross_entropy,
    code_cross_entropy_backward,
    sample_codes,
    soft_codes_backward,
    total_assignment,
    total_assignment_backward,
)
from .vector_quantize import vector_quantize, vector_quantize_backward

__all__ = [
    "code_cross_entropy",
    "code_cross_entropy_backward",
    "code_probabilities",
    "code_probabilities_backward",
    "codebook_statistics",
    "ema_update_",
    "finite_scalar_quantize",
    "finite_scalar_quantize_backward",
    "gaussian_kl",
    "gaussian_kl_backward",
    "gaussian_logsumexp",
    "gaussian_logsumexp_backward",
    "lookup_free_quantize",
    "lookup_free_quantize_backward",
    "nearest_code",
    "nearest_codes",
    "note_candidates_",
    "reparameterize_kl",
    "reparameterize_kl_backward",
    "residual_statistics",
    "residual_vector_quantize",
    "residual_vector_quantize_backward",
    "sample_codes",
    "soft_codes_backward",
    "total_assignment",
    "total_assignment_backward",
    "vector_quantize",
    "vector_quantize_backward",
]
