"""VAE and β-VAE: settings and measures."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from aevae_fast.data import ImageDataset, ImageSplits, evaluation_batches
from aevae_fast.latents.priors import VampPrior
from aevae_fast.losses import LinearSchedule, Schedule, bits_per_dim
from aevae_fast.metrics import ReconstructionReport
from aevae_fast.models import VAE

from .continuous import SEED, ContinuousFamily, ContinuousSettings, LikelihoodEvaluation
from .family import device_of, some_images

_PSEUDO_INPUTS = 500  # of a Vamp prior, which start at training images


@dataclass(frozen=True)
class VAESettings(ContinuousSettings):
    """Everything that decides a run of a VAE.

    Attributes:
        beta: weight of the KL.
        capacity: nats that the KL is held to; None for no such target.
        warmup: steps over which `beta`, or the capacity where there is one, rises from 0.
        prior: p(z), by its name in `aevae_fast.latents.priors`; None for the latent's own.
        latent: q(z | x), by its name in `aevae_fast.latents`.
    """

    family: ClassVar[str] = "vae"

    beta: float = 1.0
    capacity: float | None = None
    warmup: int = 0
    prior: str | None = None
    latent: str = "gaussian"


@dataclass(frozen=True)
class VAEEvaluation(LikelihoodEvaluation):
    """The ELBO and its parts, by one sample of the latent an image.

    Attributes:
        kl: mean over the images of KL(q(z | x) ‖ p(z)), nats an image; of the same sample where it has no closed form.
        elbo: -(reconstruction_loss + kl), nats an image.
        bits_per_dim: -elbo in bits for each value of an image; a code length under a likelihood of grey levels only.
    """

    kl: float
    elbo: float
    bits_per_dim: float

    def as_dict(self) -> dict[str, Any]:
        return super().as_dict() | {"kl": self.kl, "elbo": self.elbo, "bits_per_dim": self.bits_per_dim}

    def rows(self) -> dict[str, str]:
        return super().rows() | {
            "KL (nats)": f"{self.kl:.2f}",
            "ELBO (nats)": f"{self.elbo:.2f}",
            "-ELBO in bits / dim": f"{self.bits_per_dim:.4f}",
        }


class VAEFamily(ContinuousFamily):
    """Models with a posterior over the latent and a prior to draw from."""

    settings: ClassVar[type[ContinuousSettings]] = VAESettings
    drawn_from = "latents drawn from the prior"

    def recognises(self, model: nn.Module) -> bool:
        return hasattr(model, "elbo")

    def build(self, settings: VAESettings, images: ImageSplits) -> VAE:
        beta, capacity = _warmed_up(settings)
        start = some_images(images.train, _PSEUDO_INPUTS) if settings.prior == "vamp" else None
        options = {"components": len(start)} if start is not None else None
        model = VAE(
            beta=beta,
            capacity=capacity,
            prior=settings.prior,
            prior_options=options,
            latent=settings.latent,
            **settings.network(images),
        )
        if start is not None:
            assert isinstance(model.prior, VampPrior)
            model.prior.start_from(start)
        return model

    def describe(self, settings: VAESettings) -> str:
        name = "VAE" if settings.beta == 1 else "β-VAE"
        parts = [f"β = {settings.beta:g}"] if settings.beta != 1 else []
        parts += [f"capacity {settings.capacity:g} nats"] if settings.capacity is not None else []
        parts += [f"{settings.prior} prior"] if settings.prior is not None else []
        parts += [f"{settings.latent} posterior"] if settings.latent != "gaussian" else []
        return ", ".join([f"{name} with a latent of {settings.latent_dim}", *parts])

    def measure(self, model: Any, images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        log_likelihood, kl = model.elbo_terms(images, generator=generator)
        elbo = log_likelihood - kl
        bits = bits_per_dim(-elbo, math.prod(images.shape[1:]))
        return {"reconstruction_loss": -log_likelihood, "kl": kl, "elbo": elbo, "bits_per_dim": bits}

    def evaluation(self, images: int, reconstruction: ReconstructionReport, means: dict[str, float]) -> VAEEvaluation:
        return VAEEvaluation(images, reconstruction, **means)

    def told(self, model: Any, images: Tensor) -> tuple[Tensor, str]:
        kl = model.elementwise_kl(images)
        if kl is not None:
            return kl.mean(0), "the nats that it tells of an image"
        return model.encode(images).std(0, correction=0), "its standard deviation over the images"


@torch.no_grad()
def log_likelihood(model: Any, dataset: ImageDataset, samples: int, batch_size: int = 256) -> float:
    """log p(x) in nats an image, the mean over `dataset`, by importance sampling with `samples` latents an image.

    It lies below log p(x), by less the more samples, and above the ELBO.

    Raises:
        ValueError: an empty data set, images that do not fit the model, or `samples` below 1.
    """
    device = device_of(model)
    generator = torch.Generator(device).manual_seed(SEED)
    parts = [
        model.log_likelihood(images.to(device), samples, batch_size, generator=generator)
        for images in evaluation_batches(dataset, batch_size)
    ]
    return float(torch.cat(parts).double().mean())


def _warmed_up(settings: VAESettings) -> tuple[float | Schedule, float | Schedule | None]:
    """β and the capacity, the one that `warmup` is about as a schedule."""
    beta, capacity, steps = settings.beta, settings.capacity, settings.warmup
    if steps < 0:
        raise ValueError(f"warmup: expected 0 steps or more, got {steps}")
    if not steps:
        return beta, capacity
    if capacity is None:
        return LinearSchedule(0.0, beta, steps), None
    return beta, LinearSchedule(0.0, capacity, steps)
