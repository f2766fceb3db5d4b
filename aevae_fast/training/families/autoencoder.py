"""Autoencoder, plain or noisy: settings and measures."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from aevae_fast.data import ImageSplits
from aevae_fast.metrics import ReconstructionReport
from aevae_fast.models import Autoencoder

from .continuous import ContinuousFamily, ContinuousSettings, LikelihoodEvaluation


@dataclass(frozen=True)
class AutoencoderSettings(ContinuousSettings):
    """Everything that decides a run of an autoencoder.

    Attributes:
        noise: variance of the noise on the latent, in units of its mean square radius.
    """

    family: ClassVar[str] = "ae"

    noise: float = 0.0


class AutoencoderFamily(ContinuousFamily):
    """Models with a deterministic latent."""

    settings = AutoencoderSettings
    drawn_from = "latents drawn evenly from the range of the training latents"

    def recognises(self, model: nn.Module) -> bool:
        return hasattr(model, "traverse") and not hasattr(model, "elbo")

    def build(self, settings: AutoencoderSettings, images: ImageSplits) -> Autoencoder:
        return Autoencoder(noise=settings.noise, **settings.network(images))

    def describe(self, settings: AutoencoderSettings) -> str:
        if settings.noise:
            return f"Noisy autoencoder with a latent of {settings.latent_dim}, noise {settings.noise:g}"
        return f"Autoencoder with a latent of {settings.latent_dim}"

    def measure(self, model: Any, images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        return {"reconstruction_loss": model(images).reconstruction_loss.expand(len(images))}

    def evaluation(
        self, images: int, reconstruction: ReconstructionReport, means: dict[str, float]
    ) -> LikelihoodEvaluation:
        return LikelihoodEvaluation(images, reconstruction, **means)

    def told(self, model: Any, images: Tensor) -> tuple[Tensor, str]:
        return model.encode(images).float().std(0, unbiased=False), "its standard deviation over held-out images"
