"""Sets of images: what every source gives back, and the rules an image keeps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset


class ImageDataset(Protocol):
    """A data set with a length whose items are images, float32 `[C, H, W]` with values in [0, 1]."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Tensor: ...


class ImageTensor(Dataset[Tensor]):
    """Images held in memory as one tensor.

    Args:
        images: `[N, C, H, W]`, floating point with values in [0, 1], or uint8 with values in [0, 255].
        labels: class of each image, integer `[N]`, where it is known. Items are images without it.

    Raises:
        ValueError: wrong number of dimensions, no image, values outside the range, or another number of labels.
    """

    def __init__(self, images: Tensor, labels: Tensor | None = None) -> None:
        if images.ndim != 4 or not images.numel():
            raise ValueError(f"images: expected a non-empty [N, C, H, W], got {list(images.shape)}")
        images = images.float() / 255 if images.dtype == torch.uint8 else images.float()
        low, high = images.aminmax()
        if not (low >= 0 and high <= 1):
            raise ValueError(f"images: expected values in [0, 1], got [{low:.4g}, {high:.4g}]")
        if labels is not None and labels.shape != images.shape[:1]:
            raise ValueError(f"labels: expected one an image, [{len(images)}], got {list(labels.shape)}")
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return self.images.shape[0]

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]

    def __getitems__(self, indices: Sequence[int]) -> list[Tensor]:
        return [self.images[list(indices)]]  # one gather instead of a stack of many


@dataclass(frozen=True)
class ImageSplits:
    """A source of images, parted once and for all into training and held-out images.

    Attributes:
        name: name of the source.
        train: images to learn from.
        held_out: images that training never sees.
    """

    name: str
    train: ImageDataset
    held_out: ImageDataset

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        channels, height, width = image_of(self.train[0]).shape
        return channels, height, width

    @property
    def items(self) -> str:
        """What there is on either side, in words."""
        return f"images of {'x'.join(map(str, self.image_shape))}"


def image_of(item: Any) -> Tensor:
    """The image in an item of a data set: the item itself, or the first entry of an (image, label, ...) tuple.

    Raises:
        TypeError: there is no tensor.
        ValueError: the tensor is not `[C, H, W]`.
    """
    image = item[0] if isinstance(item, (tuple, list)) and item else item
    if not isinstance(image, Tensor):
        raise TypeError(f"data: expected items that are tensors or (tensor, ...) tuples, got {type(image).__name__}")
    if image.ndim != 3:
        raise ValueError(f"data: expected images [C, H, W], got shape {list(image.shape)}")
    return image


class Chosen(Dataset[Tensor]):
    """Some items of another data set.

    Args:
        dataset: images, or (image, ...) tuples.
        indices: which items, in order.
    """

    def __init__(self, dataset: ImageDataset, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Tensor:
        return image_of(self.dataset[self.indices[index]])

    @property
    def labels(self) -> Tensor | None:
        """Labels of the chosen items, where the other data set has labels."""
        labels = labels_of(self.dataset)
        return None if labels is None else labels[list(self.indices)]


def labels_of(dataset: ImageDataset) -> Tensor | None:
    """The class of each image of a data set, integer `[N]`: its attribute `labels`; None where it has none."""
    labels = getattr(dataset, "labels", None)
    return labels if isinstance(labels, Tensor) else None


def spread(dataset: ImageDataset, count: int) -> Chosen:
    """Up to `count` items spread evenly over `dataset`."""
    count = min(count, len(dataset))
    return Chosen(dataset, [number * len(dataset) // count for number in range(count)])
