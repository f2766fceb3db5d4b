"""What is measured of each model."""

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from aevae_fast.data import ImageSplits
from aevae_fast.metrics import interpolation_smoothness, noise_robustness

from ..evaluation import evaluate
from .yardstick import SETS, Columns, Yardstick, all_images

SCALES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)  # length of latent noise, in units of the latents' radius
STEPS = 8  # of a way between two images
_ACTIVE = 0.01  # variance of a latent element's posterior mean from which it is in use (Burda et al., 2016)


def measure_model(model: Any, images: ImageSplits, yardstick: Yardstick, seed: int) -> dict[str, Any]:
    """Everything about a trained autoencoder or VAE that the claims need; lists have a value a set.

    Returns:
        held_out: what `evaluate` says of the held-out images.
        reconstruction_mse: mean squared error, values in [0, 1].
        robustness: `scales`, and the `mse` of the decoded images at each.
        interpolation: evenness, directness and path length of ways between held-out images, and the precision of the
            images half-way.
        total_correlation: of the training latents, nats.
        active: elements of the latent in use.
        samples: quality of what `model.sample` gives.
        other_draw: quality of draws from elsewhere: of an autoencoder from the Gaussian that fits its latents, of a VAE
            evenly from the range of its latents.
    """
    latents, drawn = _training_latents(model, images, seed)
    generator = torch.Generator(latents.device).manual_seed(seed)
    sets = [model.sample(len(yardstick.held_out), generator=generator) for _ in range(SETS)]
    other = _uniform if hasattr(model, "elbo") else _fitted
    elsewhere = [model.decode(other(latents, len(yardstick.held_out), generator)) for _ in range(SETS)]
    return {
        "held_out": evaluate(model, images.held_out).as_dict(),
        "reconstruction_mse": _reconstruction(model, yardstick.held_out),
        "robustness": _robustness(model, yardstick.held_out, seed),
        "interpolation": _interpolation(model, yardstick, seed),
        "total_correlation": [total_correlation(part) for part in drawn.flatten(1).tensor_split(SETS)],
        "active": int((latents.flatten(1).double().var(0) > _ACTIVE).sum()),
        "samples": yardstick.quality(sets),
        "other_draw": yardstick.quality(elsewhere),
    }


@torch.no_grad()
def _training_latents(model: Any, images: ImageSplits, seed: int) -> tuple[Tensor, Tensor]:
    """The latents that stand for the training images, and what training decodes of them: of a VAE a sample each, in
    random order."""
    train = all_images(images.train)
    train = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))]
    parts = train.to(next(model.parameters()).device).split(256)
    latents = torch.cat([model.encode(part) for part in parts])
    if not hasattr(model, "posterior"):
        return latents, latents
    logvar = torch.cat([model.posterior(part)[1] for part in parts])
    generator = torch.Generator(latents.device).manual_seed(seed)
    noise = torch.randn(latents.shape, generator=generator, device=latents.device)
    return latents, latents + torch.exp(logvar / 2) * noise


def _uniform(latents: Tensor, count: int, generator: torch.Generator) -> Tensor:
    low, high = latents.aminmax(dim=0)
    share = torch.rand(count, *latents.shape[1:], generator=generator, device=latents.device)
    return torch.lerp(low, high, share)


def _fitted(latents: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """From the Gaussian with the latents' mean and covariance."""
    flat = latents.flatten(1).double()
    values, vectors = torch.linalg.eigh(flat.T.cov().view(flat.shape[1], -1))
    noise = torch.randn(count, flat.shape[1], generator=generator, device=flat.device, dtype=torch.float64)
    drawn = flat.mean(0) + (noise * values.clamp(min=0).sqrt()) @ vectors.T
    return drawn.to(latents.dtype).view(count, *latents.shape[1:])


def _reconstruction(model: Any, images: Tensor) -> list[float]:
    return [float((model.reconstruct(part) - part).square().mean()) for part in images.tensor_split(SETS)]


def _robustness(model: Any, images: Tensor, seed: int) -> dict[str, Any]:
    measured = [
        noise_robustness(model.decode, model.encode(part), part, scales=SCALES, seed=seed)
        for part in images.tensor_split(SETS)
    ]
    return {
        "scales": list(SCALES),
        "mse": [list(column) for column in zip(*(one.mse for one in measured), strict=True)],
    }


def _interpolation(model: Any, yardstick: Yardstick, seed: int) -> Columns:
    """Ways between pairs of held-out images, a part of the pairs a set."""
    order = torch.randperm(len(yardstick.held_out), generator=torch.Generator().manual_seed(seed))
    images = yardstick.held_out[order]
    half = len(images) // 2
    columns: Columns = {}
    for a, b in zip(images[:half].tensor_split(SETS), images[half : 2 * half].tensor_split(SETS), strict=True):
        paths = model.interpolate(a, b, steps=STEPS + 1)
        smoothness = interpolation_smoothness(paths, yardstick.classifier.features)
        values = dataclasses.asdict(smoothness) | {"halfway_precision": yardstick.precision(paths[STEPS // 2])}
        for name, value in values.items():
            columns.setdefault(name, []).append(value)
    return columns


def total_correlation(latents: Tensor) -> float:
    """Total correlation of the Gaussian that fits `latents [N, D]`, -½ log det of their correlation matrix: nats, 0
    where no element of the latent says anything about the others."""
    latents = latents.double()
    varying = latents[:, latents.var(0) > 0]
    if varying.shape[1] < 2:
        return 0.0
    sign, log_determinant = torch.linalg.slogdet(varying.T.corrcoef())
    return -float(log_determinant) / 2 if sign > 0 else math.inf
