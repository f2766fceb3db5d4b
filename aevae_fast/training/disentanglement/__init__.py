"""Disentanglement of trained models: every measure of one model, and a study of several."""

from .contenders import StudySettings
from .measure import Disentanglement, codes_of, factors_of, measure_disentanglement
from .study_run import Study, StudyInterrupted, load_study_settings, study

__all__ = [
    "Disentanglement",
    "Study",
    "StudyInterrupted",
    "StudySettings",
    "codes_of",
    "factors_of",
    "load_study_settings",
    "measure_disentanglement",
    "study",
]
