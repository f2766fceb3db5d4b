"""VQ-VAE: settings, measures and pictures."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from matplotlib.figure import Figure
from torch import nn

from aevae_fast.data import ImageDataset, ImageSplits, evaluation_batches, spread, whole_photos
from aevae_fast.metrics import CodebookUsage, ReconstructionError, UsageReport
from aevae_fast.models import VQVAE
from aevae_fast.models.discrete import WITH_CODEBOOK, usual_stages

from ..pictures import draw_code_maps, draw_codebook_curves, draw_reconstructions, draw_stage_usage, draw_usage
from ..settings import RunSettings
from .family import Family, History, ReconstructionEvaluation, device_of, some_images
from .tokens import draw_codebook, draw_tokenised
from .usage import by_stage, usage_numbers, usage_rows

_SHOWN, _MAPS = 20, 7  # images in the picture of reconstructions, in that of code maps


@dataclass(frozen=True)
class VQVAESettings(RunSettings):
    """Everything that decides a run of a VQ-VAE.

    Attributes:
        quantizer: vq, residual, fsq or lfq.
        codebook_size: number of codes, of each stage.
        codebook_dim: width of a code.
        stages: codes a position; None: 4 for residual. The others have 1.
        channels: width of encoder and decoder.
        downsampling_factor: image side over code-grid side.
        commitment_weight: weight of the commitment term.
        decay: decay of the codebook's moving averages.
    """

    family: ClassVar[str] = "vqvae"

    quantizer: str = "vq"
    codebook_size: int = 512
    codebook_dim: int = 64
    stages: int | None = None
    channels: int = 64
    downsampling_factor: int = 4
    commitment_weight: float = 0.25
    decay: float = 0.99


@dataclass(frozen=True)
class CodebookEvaluation(ReconstructionEvaluation):
    """Reconstruction from indices, as someone has it who stores them, and the use of the codebook.

    Attributes:
        usages: codebook usage over all positions of all images, of each stage.
    """

    usages: tuple[UsageReport, ...]

    @property
    def usage(self) -> UsageReport:
        """That of the first stage; of most models the only one."""
        return self.usages[0]

    def as_dict(self) -> dict[str, Any]:
        return super().as_dict() | usage_numbers(self.usages)

    def rows(self) -> dict[str, str]:
        return super().rows() | usage_rows(self.usages)


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
            stages=settings.stages,
            commitment_weight=settings.commitment_weight,
            decay=settings.decay,
            data_variance=data_variance(images.train),
            quantizer=settings.quantizer,
            quantizer_options={"kmeans_init": True} if settings.quantizer in WITH_CODEBOOK else None,
        )

    def describe(self, settings: VQVAESettings) -> str:
        if settings.quantizer == "vq":
            return f"VQ-VAE with {settings.codebook_size} codes"
        stages = usual_stages(settings.quantizer, settings.stages)
        return f"Tokenizer ({settings.quantizer}) with {stages} x {settings.codebook_size} codes"

    @torch.no_grad()
    def evaluate(self, model: Any, dataset: ImageDataset, batch_size: int) -> CodebookEvaluation:
        device = device_of(model)
        sizes = getattr(model, "codebook_sizes", (int(model.codebook_size),))
        error, usages = ReconstructionError(), [CodebookUsage(size) for size in sizes]
        for images in evaluation_batches(dataset, batch_size):
            images = images.to(device)
            indices = model.encode(images)
            if (indices < 0).any():
                raise ArithmeticError("the encoder's output is not finite")
            error.update(images, model.decode(indices))
            for usage, chosen in zip(usages, by_stage(indices, len(sizes)), strict=True):
                usage.update(chosen)
        reconstruction = error.compute()
        if not math.isfinite(reconstruction.mse):
            raise ArithmeticError(f"the reconstruction error is {reconstruction.mse}")
        return CodebookEvaluation(len(dataset), reconstruction, tuple(usage.compute() for usage in usages))

    def pictures(self, model: VQVAE, images: ImageSplits, train: CodebookEvaluation) -> Iterator[tuple[str, Figure]]:
        originals = some_images(images.held_out, _SHOWN, model)
        indices = model.encode(originals)
        decoded = model.decode(indices)
        title = "Held-out images, and what their codes decode to"
        yield "reconstructions", draw_reconstructions(originals, decoded, title)
        few = slice(0, None, max(1, -(-len(originals) // _MAPS)))
        first = by_stage(indices, len(model.codebook_sizes))[0].reshape(indices.shape[:3])
        yield "code_maps", draw_code_maps(originals[few], first[few], decoded[few], model.codebook)
        yield "codebook", draw_codebook(model, train.usage)
        if len(train.usages) == 1:
            yield "codebook_usage", draw_usage(train.usage, "Codebook over the training images")
        else:
            yield "codebook_usage", draw_stage_usage(train.usages, "Codebooks over the training images")
        photographs, border = whole_photos(images)
        if photographs:
            yield "photographs", draw_tokenised(model, photographs, border)

    def curves(self, train: History, held_out: History) -> Figure:
        return draw_codebook_curves(train, held_out)

    def facts(self, model: VQVAE) -> dict[str, Any]:
        height, width = model.image_size
        return {
            "bits_per_image": model.bits_per_image,
            "bits_per_pixel": model.bits_per_image / (height * width),
            "bits_per_image_at_8_bit": 8 * model.in_channels * height * width,
        }

    def remark(self, metrics: dict[str, Any]) -> str | None:
        return (
            f"An image takes {metrics['bits_per_image']:.0f} bits, {metrics['bits_per_pixel']:.3g} a pixel; "
            f"{metrics['bits_per_image_at_8_bit']} bits uncompressed."
        )


def data_variance(dataset: ImageDataset, at_most: int = 1000) -> float:
    """Variance of all values of up to `at_most` images spread evenly over `dataset`, at least 1e-4."""
    sample = torch.cat([batch.flatten() for batch in evaluation_batches(spread(dataset, at_most), 256)])
    return max(1e-4, float(sample.double().var(unbiased=False)))
