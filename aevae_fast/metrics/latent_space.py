"""How a decoder behaves between and beside the latents it was trained on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .image_checks import check_images


@dataclass(frozen=True)
class NoiseRobustness:
    """Reconstruction error under latent noise; entry i of each tuple belongs to scale i.

    Attributes:
        scales: root mean square length of the noise, as a fraction of `radius`.
        mse: mean squared error of the decoded images, squared pixel units (values in [0, 1]).
        radius: R, root mean square distance of the latents from their centre, in units of the latents.
    """

    scales: tuple[float, ...]
    mse: tuple[float, ...]
    radius: float


@torch.no_grad()
def noise_robustness(
    decode: Callable[[Tensor], Tensor],
    latents: Tensor,
    images: Tensor,
    *,
    scales: Sequence[float] = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8),
    seed: int = 0,
    batch_size: int = 256,
) -> NoiseRobustness:
    """Mean squared error between images and what a decoder makes of their latents under growing Gaussian noise.

    With D numbers a latent and R² = mean over the latents of ‖z - centre‖², scale s decodes z + s·R/√D·ε, ε ~ N(0, I):
    noise of length s·R, whatever D, so that latent spaces of any size and unit compare. The same ε serves every scale.

    It does not show whether the latents that noise leads to are likely ones, nor that samples are good: a decoder that
    ignores its latents is perfectly robust. Read it beside the error at scale 0.

    Args:
        decode: latents `[B, ...]` to images `[B, C, H, W]`, values in [0, 1], without randomness of its own.
        latents: `[N, ...]`, N at least 2; for a VAE the posterior means.
        images: `[N, C, H, W]`, values in [0, 1], the images that the latents stand for.
        scales: fractions of R, each at least 0.
        seed: decides the noise; torch's global generator is neither read nor moved.
        batch_size: latents decoded at a time.

    Raises:
        TypeError, ValueError: latents, images or scales that do not fit, named; a decoded shape unlike the images'.
    """
    check_images("images", images)
    if not latents.is_floating_point():
        raise TypeError(f"latents: expected floating point, got {latents.dtype}")
    if latents.ndim < 2 or len(latents) < 2 or len(latents) != len(images):
        raise ValueError(
            f"latents: expected [N, ...], one for each of the images and at least 2, got {list(latents.shape)} "
            f"for {len(images)} images"
        )
    if not scales or not all(0 <= scale < float("inf") for scale in scales):
        raise ValueError(f"scales: expected finite fractions of R, at least 0, got {tuple(scales)}")
    if batch_size < 1:
        raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
    flat = latents.flatten(1).double()
    if not flat.isfinite().all():
        raise ValueError("latents: expected finite values, got NaN or infinity")
    radius = float((flat - flat.mean(0)).square().sum(1).mean().sqrt())
    generator = torch.Generator(latents.device).manual_seed(seed)
    totals = torch.zeros(len(scales), dtype=torch.float64)
    for z, x in zip(latents.split(batch_size), images.split(batch_size), strict=True):
        noise = torch.randn(z.shape, device=z.device, generator=generator) * (radius / flat.shape[1] ** 0.5)
        for number, scale in enumerate(scales):
            decoded = decode((z + scale * noise).to(z.dtype))
            if decoded.shape != x.shape:
                raise ValueError(f"decode: expected images {list(x.shape)}, got {list(decoded.shape)}")
            totals[number] += (decoded.to(x.device).double() - x.double()).square().sum().cpu()
    return NoiseRobustness(tuple(map(float, scales)), tuple((totals / images.numel()).tolist()), radius)


@dataclass(frozen=True)
class InterpolationSmoothness:
    """How evenly and how directly decoded paths change.

    Attributes:
        path_length: perceptual path length, squared feature units; lower is smoother.
        largest_to_mean_step: 1 where all steps are alike, up to the number of steps where one step does it all.
        length_to_distance: 1 where paths run straight in feature space, larger for detours.
    """

    path_length: float
    largest_to_mean_step: float
    length_to_distance: float


def interpolation_smoothness(
    paths: Tensor, features: Callable[[Tensor], Tensor] | None = None
) -> InterpolationSmoothness:
    """Smoothness of images decoded along paths between two latents, in a feature space.

    With f_0 … f_T the features along a path of T steps and d_t = ‖f_t - f_{t-1}‖,

        path_length = mean of T²·d_t², over steps and paths
        largest_to_mean_step = mean over paths of max_t d_t / mean of d_t, over steps and paths
        length_to_distance = mean over paths of Σ_t d_t / mean over paths of ‖f_T - f_0‖

    The first is the perceptual path length of Karras et al. 2019 (arXiv:1812.04948), section 4.1, with step ε = 1/T and
    squared Euclidean distances in `features` in place of a learned metric; it is at least ‖f_T - f_0‖², reached on an
    even and straight path. The ratios are of means, so that paths that hardly move do not decide; NaN where none moves.
    All three depend on T: compare paths of as many steps, between the same images.

    They do not show that what lies between is realistic: fading one picture into the other is perfectly smooth in
    pixels, and a decoder that ignores its latents has length 0. Read them beside the precision of the pictures between.

    Args:
        paths: `[T + 1, B, C, H, W]`, values in [0, 1]: B paths of T + 1 images, T at least 2.
        features: images `[N, C, H, W]` to `[N, F]`, such as `Classifier.features`; None takes the pixels themselves.

    Raises:
        TypeError, ValueError: paths of another shape or out of range, or features that are not `[N, F]`.
    """
    if not isinstance(paths, Tensor):
        raise TypeError(f"paths: expected a tensor [T + 1, B, C, H, W], got {type(paths).__name__}")
    if paths.ndim != 5 or len(paths) < 3 or not paths.shape[1]:
        raise ValueError(
            f"paths: expected [T + 1, B, C, H, W] with T at least 2 and B at least 1, got {[*paths.shape]}"
        )
    images = paths.detach().flatten(0, 1)
    check_images("paths", images)
    points = images.flatten(1) if features is None else features(images).detach()
    if points.ndim != 2 or len(points) != len(images):
        raise ValueError(f"features: expected [N, F], one row an image, N = {len(images)}, got {list(points.shape)}")
    points = points.double().unflatten(0, paths.shape[:2])
    if not points.isfinite().all():
        raise ValueError("features: expected finite values, got NaN or infinity")
    steps = points.diff(dim=0).norm(dim=2)
    length, distance = steps.sum(0).mean(), (points[-1] - points[0]).norm(dim=1).mean()
    return InterpolationSmoothness(
        path_length=float(steps.square().mean() * len(steps) ** 2),
        largest_to_mean_step=float(steps.amax(0).mean() / steps.mean()),
        length_to_distance=float(length / distance),
    )
