"""The stateless public API: check → dispatch → gradient, one file per operation family."""

from ._checks import as_rows
from ._dispatch import Impl
from .codebook_statistics import codebook_statistics
from .ema_update import ema_update_
from .nearest_code import nearest_code
from .vector_quantize import vector_quantize

__all__ = ["Impl", "as_rows", "codebook_statistics", "ema_update_", "nearest_code", "vector_quantize"]
