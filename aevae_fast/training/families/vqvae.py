"""VQ-VAE: settings, measures and pictures."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from matplotlib.figure import Figure
from torch import nn

from aevae_fast.data import ImageDataset, ImageSplits, evaluation_batches, spread
from aevae_fast.metrics import CodebookUsage, ReconstructionError, UsageReport
from aevae_fast.models import VQVAE

from ..pictures import draw_code_maps, draw_codebook_curves, draw_reconstructions, draw_usage
from ..settings import RunSettings
from .family import Family, History, ReconstructionEvaluation, device_of, some_images

_SHOWN, _MAPS = 20, 7  # images in the picture of reconstructions, in that of code maps


@dataclass(frozen=True)
class VQVAESettings(RunSettings):
    """Everything that decides a run of a VQ-VAE.

    Attributes:
        codebook_size: number of codes.
        codebook_dim: width of a code.
        channels: width of encoder and decoder.
        downsampling_factor: image side over code-grid side.
        commitment_weight: weight of the commitment term.
        decay: decay of the codebook's moving averages.
    """

    family: ClassVar[str] = "vqvae"

    codebook_size: int = 512
    codebook_dim: int = 64
    channels: int = 64
    downsampling_factor: int = 4
    commitment_weight: float = 0.25
    decay: float = 0.99


@dataclass(frozen=True)
class CodebookEvaluation(ReconstructionEvaluation):
    """Reconstruction from indices, as someone has it who stores them, and the use of the codebook.

    Attributes:
        usage: codebook usage over all positions of all images.
    """

    usage: UsageReport

    def as_dict(self) -> dict[str, Any]:
        return super().as_dict() | {
            "perplexity": self.usage.perplexity,
            "entropy_bits_per_code": self.usage.entropy_bits,
            "usage": self.usage.usage,
            "dead_codes": self.usage.dead_codes,
        }

    def rows(self) -> dict[str, str]:
        return super().rows() | {
            "codebook perplexity": f"{self.usage.perplexity:.1f}",
            "codes used": f"{self.usage.usage:.1%}",
            "dead codes": str(self.usage.dead_codes),
        }


class VQVAEFamily(Family):
    """Models with `encode` to indices, `decode` from them, and `codebook_size`."""

    settings = VQVAESettings

    def recognises(self, model: nn.Module) -> bool:
        return hasattr(model, "codebook_size") and hasattr(model, "encode")

    def build(self, settings: VQVAESettings, images: ImageSplits) -> VQVAE:
        channels, height, width = images.image_shape
        return VQVAE(
            channels,
            (height, width),
            channels=settings.channels,
            downsampling_factor=settings.downsampling_factor,
            codebook_size=settings.codebook_size,
            codebook_dim=settings.codebook_dim,
            commitment_weight=settings.commitment_weight,
            decay=settings.decay,
            data_variance=data_variance(images.train),
            quantizer_options={"kmeans_init": True},
        )

    def describe(self, settings: VQVAESettings) -> str:
        return f"VQ-VAE with {settings.codebook_size} codes"

    @torch.no_grad()
    def evaluate(self, model: Any, dataset: ImageDataset, batch_size: int) -> CodebookEvaluation:
        device = device_of(model)
        error, usage = ReconstructionError(), CodebookUsage(int(model.codebook_size))
        for images in evaluation_batches(dataset, batch_size):
            images = images.to(device)
            indices = model.encode(images)
            if (indices < 0).any():
                raise ArithmeticError("the encoder's output is not finite")
            error.update(images, model.decode(indices))
            usage.update(indices)
        reconstruction = error.compute()
        if not math.isfinite(reconstruction.mse):
            raise ArithmeticError(f"the reconstruction error is {reconstruction.mse}")
        return CodebookEvaluation(len(dataset), reconstruction, usage.compute())

    def pictures(self, model: VQVAE, images: ImageSplits, train: CodebookEvaluation) -> Iterator[tuple[str, Figure]]:
        originals = some_images(images.held_out, _SHOWN, model)
        indices = model.encode(originals)
        decoded = model.decode(indices)
        title = "Held-out images, and what their codes decode to"
        yield "reconstructions", draw_reconstructions(originals, decoded, title)
        few = slice(0, None, max(1, -(-len(originals) // _MAPS)))
        yield "code_maps", draw_code_maps(originals[few], indices[few], decoded[few], model.codebook)
        yield "codebook_usage", draw_usage(train.usage, "Codebook over the training images")

    def curves(self, train: History, held_out: History) -> Figure:
        return draw_codebook_curves(train, held_out)

    def facts(self, model: VQVAE) -> dict[str, Any]:
        height, width = model.image_size
        return {
            "bits_per_image": model.bits_per_image,
            "bits_per_image_at_8_bit": 8 * model.in_channels * height * width,
        }

    def remark(self, metrics: dict[str, Any]) -> str | None:
        return (
            f"An image takes {metrics['bits_per_image']:.0f} bits, "
            f"{metrics['bits_per_image_at_8_bit']} bits uncompressed."
        )


def data_variance(dataset: ImageDataset, at_most: int = 1000) -> float:
    """Variance of all values of up to `at_most` images spread evenly over `dataset`, at least 1e-4."""
    sample = torch.cat([batch.flatten() for batch in evaluation_batches(spread(dataset, at_most), 256)])
    return max(1e-4, float(sample.double().var(unbiased=False)))
