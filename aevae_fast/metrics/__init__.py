"""Measures of codebook usage and of reconstruction."""

from .codebook import CodebookUsage, UsageReport, code_counts, entropy_bits, perplexity
from .reconstruction import ReconstructionError, ReconstructionReport

__all__ = [
    "CodebookUsage",
    "ReconstructionError",
    "ReconstructionReport",
    "UsageReport",
    "code_counts",
    "entropy_bits",
    "perplexity",
]
