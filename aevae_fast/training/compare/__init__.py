"""Autoencoder, noisy autoencoder, VAE and β-VAE side by side, and what is claimed of them put to the test."""

from .claims import Check, Claim, judge
from .contenders import CompareSettings
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
