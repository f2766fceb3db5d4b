"""The kinds of models that can be trained: each in one place, found by name or by what a model can do."""

from torch import nn

from .autoencoder import AutoencoderFamily, AutoencoderSettings
from .beta_tcvae import BetaTCVAEFamily, BetaTCVAESettings
from .code_prior import CodeEvaluation, CodePriorFamily, CodePriorSettings, code_fingerprint
from .codec import CodecEvaluation, CodecFamily, CodecSettings
from .continuous import LikelihoodEvaluation, draw_interpolations
from .family import Evaluation, Family, device_of, some_images
from .vae import VAEEvaluation, VAEFamily, VAESettings, log_likelihood
from .vqvae import CodebookEvaluation, VQVAEFamily, VQVAESettings

FAMILIES: dict[str, Family] = {
    family.settings.family: family
    for family in (VQVAEFamily(), VAEFamily(), AutoencoderFamily(), BetaTCVAEFamily(), CodePriorFamily(), CodecFamily())
}


def family_of(model: nn.Module) -> Family:
    """The family whose methods `model` has.

    Raises:
        TypeError: it has those of none.
    """
    for family in FAMILIES.values():
        if family.recognises(model):
            return family
    raise TypeError(f"model: expected one of {', '.join(FAMILIES)} or one with its methods, got {type(model).__name__}")


__all__ = [
    "FAMILIES",
    "AutoencoderSettings",
    "BetaTCVAESettings",
    "CodeEvaluation",
    "CodePriorSettings",
    "CodebookEvaluation",
    "CodecEvaluation",
    "CodecSettings",
    "Evaluation",
    "Family",
    "LikelihoodEvaluation",
    "VAEEvaluation",
    "VAESettings",
    "VQVAESettings",
    "code_fingerprint",
    "device_of",
    "draw_interpolations",
    "family_of",
    "log_likelihood",
    "some_images",
]
