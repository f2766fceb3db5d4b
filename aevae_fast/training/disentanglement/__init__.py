"""Disentanglement of trained models: every measure of one model, and a study of several."""

from .measure import Disentanglement, codes_of, factors_of, measure_disentanglement

__all__ = ["Disentanglement", "codes_of", "factors_of", "measure_disentanglement"]
