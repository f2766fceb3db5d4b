"""`Family`: all that training and reporting must know of one kind of model."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from aevae_fast.data import ImageDataset, ImageSplits, evaluation_batches, load_images, spread
from aevae_fast.metrics import ReconstructionReport

from ..settings import RunSettings

History = dict[str, list[float]]


@dataclass(frozen=True)
class Evaluation:
    """What is measured of every model over a data set; each family adds its own.

    Attributes:
        images: number of images, or of what the family has in their place.
    """

    noun: ClassVar[str] = "images"

    images: int

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return {self.noun: self.images}

    def rows(self) -> dict[str, str]:
        """The rows of a table: what is measured, and the value in words."""
        return {}


@dataclass(frozen=True)
class ReconstructionEvaluation(Evaluation):
    """Of models that give images back.

    Attributes:
        reconstruction: error of what comes back, values clamped to [0, 1].
    """

    reconstruction: ReconstructionReport

    def as_dict(self) -> dict[str, Any]:
        return super().as_dict() | {
            "mse": self.reconstruction.mse,
            "nmse": self.reconstruction.nmse,
            "psnr_db": self.reconstruction.psnr_db,
        }

    def rows(self) -> dict[str, str]:
        return {
            "mean squared error": f"{self.reconstruction.mse:.5f}",
            "error / variance": f"{self.reconstruction.nmse:.4f}",
            "PSNR (dB)": f"{self.reconstruction.psnr_db:.2f}",
        }


class Family(ABC):
    """One kind of model, from its settings to its pictures.

    Attributes:
        settings: the class of its settings.
    """

    settings: ClassVar[type[RunSettings]]

    @abstractmethod
    def recognises(self, model: nn.Module) -> bool:
        """Whether `model` has the methods of this family; a wrapper that passes them on counts."""

    def load(self, settings: Any) -> ImageSplits:
        """What `settings` name to train on.

        Raises:
            ValueError: there is none of that name, or it does not fit.
        """
        return load_images(settings.data, settings.image_size)

    def data(self, settings: Any, images: ImageSplits) -> ImageSplits:
        """What a run trains on and measures on: the images, or what is made of them beforehand.

        Raises:
            FileNotFoundError, ValueError: what makes it is not there, or does not fit the images.
        """
        return images

    @abstractmethod
    def build(self, settings: Any, images: ImageSplits) -> Any:
        """The model that `settings` describe, for what `data` gave; weights drawn from torch's global generator.

        Raises:
            ValueError, TypeError: a setting is out of range or does not fit the images.
        """

    @abstractmethod
    def describe(self, settings: Any) -> str:
        """The model in a few words."""

    @abstractmethod
    def evaluate(self, model: Any, dataset: ImageDataset, batch_size: int) -> Evaluation:
        """Measure `model` over `dataset`; torch's global generators are left alone.

        Raises:
            ValueError: an empty data set, or images that do not fit the model.
            ArithmeticError: what comes out is NaN or infinite.
        """

    @abstractmethod
    def pictures(self, model: Any, images: ImageSplits, train: Any) -> Iterator[tuple[str, Figure]]:
        """Names of files without suffix, and what they show; `train` is the evaluation of the training images."""

    @abstractmethod
    def curves(self, train: History, held_out: History) -> Figure:
        """What the history of a run remembers, over the steps."""

    def leave(self, model: Any, images: ImageSplits, out: Path) -> list[Path]:
        """Write to the run's folder what this family shows beside pictures; returns the files."""
        return []

    def facts(self, model: Any) -> dict[str, Any]:
        """Entries of `metrics.json` that only this family has."""
        return {}

    def remark(self, metrics: dict[str, Any]) -> str | None:
        """A sentence to show below the table of a finished run."""
        return None


def some_images(dataset: ImageDataset, count: int, model: nn.Module | None = None) -> Tensor:
    """Up to `count` images `[N, C, H, W]`, spread evenly over `dataset`, on the device of `model`."""
    images = next(iter(evaluation_batches(spread(dataset, count), count)))
    return images if model is None else images.to(device_of(model))


def device_of(model: nn.Module) -> torch.device:
    """The device of the model's parameters."""
    return next(model.parameters()).device
