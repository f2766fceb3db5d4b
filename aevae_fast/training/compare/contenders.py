"""The models that are compared: alike but for what is claimed of them."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from ..families import AutoencoderSettings, VAESettings
from ..families.continuous import ContinuousSettings

AUTOENCODER, NOISY, VAE, BETA_VAE = "autoencoder", "noisy-autoencoder", "vae", "beta-vae"


@dataclass(frozen=True)
class CompareSettings(ContinuousSettings):
    """Everything that decides a comparison: what the models share, and wherein they differ.

    Attributes:
        noise: of the noisy autoencoder, a variance in units of the latents' mean square radius; above 0.
        beta: of the β-VAE, above 1.

    Raises:
        ValueError: `noise` or `beta` is out of range.
    """

    family: ClassVar[str] = "compare"

    noise: float = 0.05
    beta: float = 4.0

    def __post_init__(self) -> None:
        if not self.noise > 0:
            raise ValueError(f"noise: expected more than 0 (0 is the plain autoencoder beside it), got {self.noise}")
        if not self.beta > 1:
            raise ValueError(f"beta: expected more than 1 (1 is the VAE beside it), got {self.beta}")


@dataclass(frozen=True)
class Contender:
    """One of the models.

    Attributes:
        key: its name in files.
        title: its name in tables and pictures.
        settings: of its run.
    """

    key: str
    title: str
    settings: AutoencoderSettings | VAESettings


def contenders(settings: CompareSettings) -> list[Contender]:
    """Autoencoder, noisy autoencoder, VAE and β-VAE of one body, latent size, seed, number of steps and batch order."""
    shared = {field.name: getattr(settings, field.name) for field in dataclasses.fields(ContinuousSettings)}
    return [
        Contender(AUTOENCODER, "Autoencoder", AutoencoderSettings(**shared)),
        Contender(NOISY, "Noisy autoencoder", AutoencoderSettings(**shared, noise=settings.noise)),
        Contender(VAE, "VAE", VAESettings(**shared)),
        Contender(BETA_VAE, f"β-VAE, β = {settings.beta:g}", VAESettings(**shared, beta=settings.beta)),
    ]
