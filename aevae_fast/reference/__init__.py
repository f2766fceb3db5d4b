"""The specification: each operation in plain, obvious, differentiable PyTorch; float64 works."""

from .codebook_statistics import codebook_statistics
from .ema_update import ema_update
from .nearest_code import nearest_code
from .vector_quantize import vector_quantize

__all__ = ["codebook_statistics", "ema_update", "nearest_code", "vector_quantize"]
