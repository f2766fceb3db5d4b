"""Each operation in fast, bounded-memory PyTorch: the CPU, and any device that Triton does not serve."""

from .codebook_statistics import codebook_statistics
from .ema_update import ema_update_
from .nearest_code import nearest_code
from .vector_quantize import vector_quantize, vector_quantize_backward

__all__ = ["codebook_statistics", "ema_update_", "nearest_code", "vector_quantize", "vector_quantize_backward"]
