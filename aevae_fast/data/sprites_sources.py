"""Images with known factors as sources to train on: a small set of sprites, and the original dSprites file."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .images import ImageDataset, ImageSplits, ImageTensor
from .splits import random_split
from .sprites_grid import FACTORS, Sprites

_SMALL = {"scale": range(6), "x": range(0, 32, 2), "y": range(0, 32, 2)}


class FactorImages(Dataset[Tensor]):
    """Some images of a data set whose factors are known.

    Args:
        dataset: images.
        indices: which of them, in order.
        factors: of every image of `dataset`, int64 `[N, F]`.
        factor_names: one a column.

    Attributes:
        factors: of the chosen images, int64 `[len(indices), F]`.
        factor_names: one a column.
    """

    def __init__(
        self, dataset: ImageDataset, indices: Sequence[int], factors: Tensor, factor_names: Sequence[str]
    ) -> None:
        self.dataset, self.indices = dataset, list(indices)
        self.factors, self.factor_names = factors[self.indices], tuple(factor_names)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Tensor:
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: Sequence[int]) -> list[Tensor]:
        chosen = [self.indices[index] for index in indices]
        whole = getattr(self.dataset, "__getitems__", None)
        return whole(chosen) if whole else [self.dataset[index] for index in chosen]


class DSprites(Dataset[Tensor]):
    """The images of the original dSprites file (Matthey et al. 2017), 737,280 of 64×64, 3 GB of memory.

    Of the archive only `imgs` and `latents_classes` are read; nothing in it is unpickled. The colour, always white, is
    left out.

    Args:
        path: the `.npz` file.

    Attributes:
        factors: int64 `[N, 5]`.
        factor_names: shape, scale, orientation, x, y.
        factor_sizes: how many values each takes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no archive of arrays, or its arrays are not those of dSprites.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"data: expected the dSprites archive, but {path} is not there")
        try:
            with np.load(path, allow_pickle=False) as archive:
                images, classes = archive["imgs"], archive["latents_classes"]
        except (ValueError, KeyError, OSError, AttributeError, TypeError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path}: expected an archive with `imgs` and `latents_classes`, got something else ({error})"
            ) from error
        if images.ndim != 3 or images.dtype != np.uint8 or not len(images) or images.max() > 1:
            raise ValueError(
                f"{path}: expected imgs [N, H, W] of uint8, 0 or 1, got {images.dtype} {list(images.shape)}"
            )
        if classes.shape != (len(images), len(FACTORS) + 1) or not np.issubdtype(classes.dtype, np.integer):
            raise ValueError(
                f"{path}: expected latents_classes [{len(images)}, {len(FACTORS) + 1}] of integers, got "
                f"{classes.dtype} {list(classes.shape)}"
            )
        self.images = torch.from_numpy(images)
        self.factors = torch.from_numpy(classes[:, 1:].astype(np.int64))
        self.factor_names = FACTORS
        self.factor_sizes = tuple(int(column.unique().numel()) for column in self.factors.unbind(1))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index, None].float()

    def __getitems__(self, indices: Sequence[int]) -> list[Tensor]:
        return [self.images[list(indices), None].float()]


def sprites(image_size: int = 32) -> ImageSplits:
    """A small grid of `Sprites`, kept in memory, to train on in minutes: a tenth of it is held out.

    Args:
        image_size: side of the images in pixels, at least 8.

    Raises:
        ValueError: `image_size` is out of range.
    """
    grid = Sprites(("shape", *_SMALL), values=_SMALL, image_size=image_size)
    factors = grid.factors
    return _split("sprites", ImageTensor(grid.render(factors)), factors, grid.factor_names)


def dsprites(path: str | Path) -> ImageSplits:
    """The original dSprites, a fixed tenth of it held out; arguments and errors as `DSprites`."""
    archive = DSprites(path)
    return _split("dsprites", archive, archive.factors, archive.factor_names)


def _split(name: str, images: ImageDataset, factors: Tensor, names: Sequence[str]) -> ImageSplits:
    train, held_out = (FactorImages(images, part, factors, names) for part in random_split(len(images)))
    return ImageSplits(name, train, held_out)
