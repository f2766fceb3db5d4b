"""What autoencoders and VAEs share: settings, measures and pictures of models with a continuous latent."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from matplotlib.figure import Figure
from torch import Tensor

from aevae_fast.data import ImageDataset, ImageSplits, evaluation_batches
from aevae_fast.metrics import ReconstructionError, ReconstructionReport
from aevae_fast.models.modes import evaluation_mode

from ..pictures import draw_grid, draw_likelihood_curves, draw_reconstructions, draw_rows
from ..settings import RunSettings
from .family import Family, History, ReconstructionEvaluation, device_of, some_images

SEED = 0  # of what pictures and measures draw
_SHOWN, _SAMPLES, _PAIRS, _STEPS, _TRAVERSED, _GRID = 20, 64, 6, 9, 10, 15  # images or rows in a picture
_MANY = 256  # images to learn from where latents lie


@dataclass(frozen=True)
class ContinuousSettings(RunSettings):
    """What decides the networks around a continuous latent.

    Attributes:
        latent_dim: size of the latent.
        likelihood: of an image given its latent, by its name in `aevae_fast.losses`; a Gaussian's σ is learned.
        body: "convolutional" or "mlp".
        channels: width of the convolutions.
        downsampling_factor: image side over the side of the coarsest map.
    """

    latent_dim: int = 16
    likelihood: str = "bernoulli"
    body: str = "convolutional"
    channels: int = 32
    downsampling_factor: int = 4

    def network(self, images: ImageSplits) -> dict[str, Any]:
        """The arguments that `Autoencoder` and `VAE` share."""
        channels, height, width = images.image_shape
        return {
            "in_channels": channels,
            "image_size": (height, width),
            "latent_dim": self.latent_dim,
            "likelihood": self.likelihood,
            "likelihood_options": {"learned": True} if self.likelihood == "gaussian" else None,
            "body": self.body,
            "channels": self.channels,
            "downsampling_factor": self.downsampling_factor,
        }


@dataclass(frozen=True)
class LikelihoodEvaluation(ReconstructionEvaluation):
    """Reconstruction as the likelihood sees it.

    Attributes:
        reconstruction_loss: mean over the images of -log p(x | z), nats an image.
    """

    reconstruction_loss: float

    def as_dict(self) -> dict[str, Any]:
        return super().as_dict() | {"reconstruction_loss": self.reconstruction_loss}

    def rows(self) -> dict[str, str]:
        return super().rows() | {"reconstruction, -log p(x | z) (nats)": f"{self.reconstruction_loss:.2f}"}


class ContinuousFamily(Family):
    """Models with `encode` to a latent and `decode` from it, `sample`, `interpolate` and `traverse`.

    Attributes:
        drawn_from: where `sample` takes its latents, in words.
    """

    drawn_from: ClassVar[str]

    @abstractmethod
    def measure(self, model: Any, images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """What the family's evaluation holds beside the reconstruction error: `[B]` each, of images `[B, C, H, W]`."""

    @abstractmethod
    def evaluation(
        self, images: int, reconstruction: ReconstructionReport, means: dict[str, float]
    ) -> LikelihoodEvaluation:
        """The evaluation with the means of what `measure` gives."""

    @abstractmethod
    def told(self, model: Any, images: Tensor) -> tuple[Tensor, str]:
        """How much each element of the latent tells of the images, `[*latent_shape]`, and what of that, in words."""

    @torch.no_grad()
    def evaluate(self, model: Any, dataset: ImageDataset, batch_size: int) -> LikelihoodEvaluation:
        device = device_of(model)
        error, sums = ReconstructionError(), dict[str, float]()
        generator = torch.Generator(device).manual_seed(SEED)
        with evaluation_mode(model):
            for images in evaluation_batches(dataset, batch_size):
                images = images.to(device)
                error.update(images, model.reconstruct(images))
                for name, values in self.measure(model, images, generator).items():
                    sums[name] = sums.get(name, 0.0) + float(values.double().sum())
        means = {name: value / len(dataset) for name, value in sums.items()}
        reconstruction = error.compute()
        for name, value in {"reconstruction_error": reconstruction.mse, **means}.items():
            if not math.isfinite(value):
                raise ArithmeticError(f"the {name.replace('_', ' ')} is {value}")
        return self.evaluation(len(dataset), reconstruction, means)

    def pictures(self, model: Any, images: ImageSplits, train: Any) -> Iterator[tuple[str, Figure]]:
        originals = some_images(images.held_out, _SHOWN, model)
        title = "Held-out images, and what their latents decode to"
        yield "reconstructions", draw_reconstructions(originals, model.reconstruct(originals), title)
        generator = torch.Generator(device_of(model)).manual_seed(SEED)
        yield "samples", draw_grid(model.sample(_SAMPLES, generator=generator), f"Decoded from {self.drawn_from}")
        if len(images.held_out) > 1:
            yield "interpolations", draw_interpolations(model, images.held_out, pairs=_PAIRS, steps=_STEPS)
        yield "traversals", self._draw_traversals(model, images.held_out)
        if math.prod(model.latent_shape) == 2 and len(images.held_out) > 1:
            yield "manifold", _draw_manifold(model, images.held_out)

    def curves(self, train: History, held_out: History) -> Figure:
        return draw_likelihood_curves(train, held_out)

    def _draw_traversals(self, model: Any, dataset: ImageDataset) -> Figure:
        """One held-out image, one element of its latent at a time from end to end: those that tell most, first."""
        several = some_images(dataset, _MANY, model)
        told, what = self.told(model, several)
        dims = told.flatten().argsort(descending=True)[:_TRAVERSED].tolist()
        rows = model.traverse(several[:1], dims, steps=_STEPS)[:, :, 0]
        labels = [f"z{dim}  {float(told.flatten()[dim]):.2f}" for dim in dims]
        title = f"One element of the latent from end to end, and {what}"
        return draw_rows(list(rows), labels, title)


def draw_interpolations(model: Any, dataset: ImageDataset, *, pairs: int, steps: int, mode: str = "linear") -> Figure:
    """Ways through the latent space between held-out images, which stand at both ends."""
    originals = some_images(dataset, 2 * pairs, model)
    if len(originals) < 2:
        raise ValueError(f"data: expected at least 2 held-out images to go between, got {len(originals)}")
    pairs = len(originals) // 2
    a, b = originals[:pairs], originals[-pairs:]  # far apart in the data set, which may be sorted by class
    between = model.interpolate(a, b, steps=steps, mode=mode)  # [steps, pairs, C, H, W]
    rows = [torch.cat([a[i : i + 1], between[:, i], b[i : i + 1]]) for i in range(pairs)]
    title = f"From one held-out image to another, {mode} in the latent"
    return draw_rows(rows, [""] * len(rows), title, ends=("original", "original"))


def _draw_manifold(model: Any, dataset: ImageDataset) -> Figure:
    """What a latent of two numbers decodes to, over the rectangle that the held-out images take."""
    latents = model.encode(some_images(dataset, _MANY, model)).flatten(1)
    low, high = latents.aminmax(dim=0)
    across, down = (torch.linspace(float(low[i]), float(high[i]), _GRID, device=latents.device) for i in range(2))
    points = torch.stack(torch.meshgrid(down.flip(0), across, indexing="ij")[::-1], -1)
    images = model.decode(points.view(-1, *model.latent_shape).to(latents))
    title = f"The plane of latents, {low[0]:.1f} to {high[0]:.1f} across and {low[1]:.1f} to {high[1]:.1f} up"
    return draw_grid(images, title)
