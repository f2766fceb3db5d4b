"""Reconstruction error and codebook usage of a model over a data set."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from aevae_fast.data import ImageDataset, evaluation_batches
from aevae_fast.metrics import CodebookUsage, ReconstructionError, ReconstructionReport, UsageReport


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` measures.

    Attributes:
        images: number of images.
        reconstruction: error of the decoded indices, values clamped to [0, 1].
        usage: codebook usage over all positions of all images.
    """

    images: int
    reconstruction: ReconstructionReport
    usage: UsageReport

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return {
            "images": self.images,
            "mse": self.reconstruction.mse,
            "nmse": self.reconstruction.nmse,
            "psnr_db": self.reconstruction.psnr_db,
            "perplexity": self.usage.perplexity,
            "entropy_bits_per_code": self.usage.entropy_bits,
            "usage": self.usage.usage,
            "dead_codes": self.usage.dead_codes,
        }


def evaluate(model: nn.Module, dataset: ImageDataset, batch_size: int = 256) -> Evaluation:
    """Send every image through its indices and back, as someone would who stores the indices.

    Args:
        model: has `encode`, `decode` and `codebook_size`, as `VQVAE` does.
        dataset: images; moved to the model's device batch by batch.
        batch_size: images at a time.

    Raises:
        ValueError: an empty data set, or images that do not fit the model.
        ArithmeticError: the model's weights or the images are so that what comes out is NaN or infinite.
    """
    device = next(model.parameters()).device
    error, usage = ReconstructionError(), CodebookUsage(int(model.codebook_size))  # type: ignore[arg-type]
    with torch.no_grad():
        for images in evaluation_batches(dataset, batch_size):
            images = images.to(device)
            indices = model.encode(images)  # type: ignore[operator]
            if (indices < 0).any():
                raise ArithmeticError("the encoder's output is not finite")
            error.update(images, model.decode(indices))  # type: ignore[operator]
            usage.update(indices)
    reconstruction = error.compute()
    if not math.isfinite(reconstruction.mse):
        raise ArithmeticError(f"the reconstruction error is {reconstruction.mse}")
    return Evaluation(len(dataset), reconstruction, usage.compute())
