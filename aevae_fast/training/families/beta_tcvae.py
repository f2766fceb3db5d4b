"""β-TCVAE: settings; all else is a VAE's."""

from dataclasses import dataclass
from typing import Any, ClassVar

from aevae_fast.data import ImageSplits
from aevae_fast.losses import LinearSchedule
from aevae_fast.models import VAE

from .continuous import ContinuousSettings
from .vae import VAEFamily


@dataclass(frozen=True)
class BetaTCVAESettings(ContinuousSettings):
    """Everything that decides a run of a β-TCVAE.

    Attributes:
        alpha: weight of the mutual information of image and latent.
        beta: weight of the total correlation.
        gamma: weight of the dimension-wise KL.
        sampling: "weighted" or "stratified".
        warmup: steps over which `beta` rises from 0.
    """

    family: ClassVar[str] = "beta-tcvae"

    alpha: float = 1.0
    beta: float = 6.0
    gamma: float = 1.0
    sampling: str = "weighted"
    warmup: int = 0


class BetaTCVAEFamily(VAEFamily):
    """VAEs trained on the parts of their KL."""

    settings = BetaTCVAESettings

    def build(self, settings: Any, images: ImageSplits) -> VAE:
        if settings.warmup < 0:
            raise ValueError(f"warmup: expected 0 steps or more, got {settings.warmup}")
        objective = {
            "dataset_size": len(images.train),
            "alpha": settings.alpha,
            "beta": LinearSchedule(0.0, settings.beta, settings.warmup) if settings.warmup else settings.beta,
            "gamma": settings.gamma,
            "sampling": settings.sampling,
        }
        return VAE(objective="beta_tcvae", objective_options=objective, **settings.network(images))

    def describe(self, settings: Any) -> str:
        weights = f"α = {settings.alpha:g}, β = {settings.beta:g}, γ = {settings.gamma:g}"
        return f"β-TCVAE with a latent of {settings.latent_dim}, {weights}, {settings.sampling} sampling"
