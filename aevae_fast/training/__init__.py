"""Training on Lightning: exact resume, progress, pictures, metrics and export."""

from .callbacks import TrainingDiverged
from .evaluation import evaluate
from .families import (
    AutoencoderSettings,
    BetaTCVAESettings,
    CodebookEvaluation,
    CodecEvaluation,
    CodecSettings,
    CodeEvaluation,
    CodePriorSettings,
    Evaluation,
    LikelihoodEvaluation,
    VAEEvaluation,
    VAESettings,
    VQVAESettings,
)
from .fit import FitResult, fit
from .health import QuantizerHealth
from .report import Report
from .runs import load_settings, train_run
from .settings import RunSettings

__all__ = [
    "AutoencoderSettings",
    "BetaTCVAESettings",
    "CodeEvaluation",
    "CodePriorSettings",
    "CodebookEvaluation",
    "CodecEvaluation",
    "CodecSettings",
    "Evaluation",
    "FitResult",
    "LikelihoodEvaluation",
    "QuantizerHealth",
    "Report",
    "RunSettings",
    "TrainingDiverged",
    "VAEEvaluation",
    "VAESettings",
    "VQVAESettings",
    "evaluate",
    "fit",
    "load_settings",
    "train_run",
]
