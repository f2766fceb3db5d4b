"""How close reconstructions are to their originals."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_MSE_FLOOR = 1e-10  # an exact reconstruction reads 100 dB instead of infinity


@dataclass(frozen=True)
class ReconstructionReport:
    """Reconstruction error over a data set of images with values in [0, 1].

    Attributes:
        mse: mean squared error over all elements.
        nmse: `mse` divided by the variance of the originals over all elements (1 = no better than their mean).
        psnr_db: mean over images of `-10 log10(mse of the image)`, in decibel, at most 100.
    """

    mse: float
    nmse: float
    psnr_db: float


class ReconstructionError:
    """Accumulates the error of reconstructions over many batches, in float64."""

    def __init__(self) -> None:
        self._images = 0
        self._elements = 0
        self._squared_error = 0.0
        self._psnr = 0.0
        self._sum = 0.0
        self._sum_of_squares = 0.0

    def update(self, originals: Tensor, reconstructions: Tensor) -> None:
        """Add a batch of images `[B, C, H, W]`, values in [0, 1].

        Raises:
            ValueError: the two shapes differ.
        """
        if originals.shape != reconstructions.shape:
            raise ValueError(
                f"reconstructions: expected the shape of originals, {tuple(originals.shape)}, "
                f"got {tuple(reconstructions.shape)}"
            )
        x = originals.detach().cpu().double().flatten(1)
        per_image = (x - reconstructions.detach().cpu().double().flatten(1)).square().mean(1)
        self._images += x.shape[0]
        self._elements += x.numel()
        self._squared_error += float(per_image.sum()) * x.shape[1]
        self._psnr += float(-10 * torch.log10(per_image.clamp(min=_MSE_FLOOR)).sum())
        self._sum += float(x.sum())
        self._sum_of_squares += float(x.square().sum())

    def compute(self) -> ReconstructionReport:
        """The error of everything seen so far.

        Raises:
            ValueError: no image has been seen.
        """
        if not self._elements:
            raise ValueError("ReconstructionError: expected at least one image before compute(), got none")
        mse = self._squared_error / self._elements
        variance = self._sum_of_squares / self._elements - (self._sum / self._elements) ** 2
        nmse = mse / variance if variance > 0 else math.inf
        return ReconstructionReport(mse=mse, nmse=nmse, psnr_db=self._psnr / self._images)
