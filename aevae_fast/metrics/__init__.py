"""Measures of codebook usage, of reconstruction, of samples and of latent spaces."""

from .classifier import Classifier, train_classifier
from .codebook import CodebookUsage, UsageReport, code_counts, entropy_bits, perplexity
from .latent_space import InterpolationSmoothness, NoiseRobustness, interpolation_smoothness, noise_robustness
from .reconstruction import ReconstructionError, ReconstructionReport
from .sample_quality import PrecisionRecall, SampleQuality, frechet_distance, mmd, precision_recall, sample_quality
from .stage_health import StageHealth, residual_energies, stage_health

__all__ = [
    "Classifier",
    "CodebookUsage",
    "InterpolationSmoothness",
    "NoiseRobustness",
    "PrecisionRecall",
    "ReconstructionError",
    "ReconstructionReport",
    "SampleQuality",
    "StageHealth",
    "UsageReport",
    "code_counts",
    "entropy_bits",
    "frechet_distance",
    "interpolation_smoothness",
    "mmd",
    "noise_robustness",
    "perplexity",
    "precision_recall",
    "residual_energies",
    "sample_quality",
    "stage_health",
    "train_classifier",
]
