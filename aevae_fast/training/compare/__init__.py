"""Autoencoder, noisy autoencoder, VAE and β-VAE side by side, and what is claimed of them put to the test."""

from .claims import Claim, judge
from .contenders import CompareSettings
from .rules import Check
from .run import Comparison, ComparisonInterrupted, compare, load_compare_settings

__all__ = [
    "Check",
    "Claim",
    "CompareSettings",
    "Comparison",
    "ComparisonInterrupted",
    "compare",
    "judge",
    "load_compare_settings",
]
