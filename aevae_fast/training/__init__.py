"""Training on Lightning: exact resume, progress, pictures, metrics and export."""

from .callbacks import TrainingDiverged
from .evaluation import Evaluation, evaluate
from .fit import FitResult, fit
from .report import Report
from .runs import VQVAESettings, train_vqvae

__all__ = [
    "Evaluation",
    "FitResult",
    "Report",
    "TrainingDiverged",
    "VQVAESettings",
    "evaluate",
    "fit",
    "train_vqvae",
]
