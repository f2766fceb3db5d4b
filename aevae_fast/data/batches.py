"""Batches of images: an endless shuffled stream for training, one plain pass for evaluation."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from .images import ImageDataset, image_of

_ENDLESS = 2**40  # a length that no run reaches; a training loop that knows a length need not fetch one batch ahead


def collate_images(items: Sequence[Any]) -> Tensor:
    """One batch `[B, C, H, W]` from the items of a data set.

    Raises:
        TypeError: an item holds no tensor.
        ValueError: the images differ in shape.
    """
    if len(items) == 1 and isinstance(items[0], Tensor) and items[0].ndim == 4:
        return items[0]  # `ImageTensor` hands out whole batches
    images = [image_of(item) for item in items]
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        raise ValueError(f"data: expected images of one shape, got {sorted(shapes)}")
    return torch.stack(images)


def _collate_of(dataset: ImageDataset) -> Callable[[Sequence[Any]], Tensor]:
    """How items of `dataset` become a batch: a data set of something else than images brings its own `collate`."""
    return getattr(dataset, "collate", collate_images)


class _EndlessBatches(Sampler[list[int]]):
    """Index lists from step `start` on; the list of step t depends on (seed, t) only."""

    def __init__(self, size: int, batch_size: int, seed: int, start: int) -> None:
        self.size, self.batch_size, self.seed, self.start = size, batch_size, seed, start

    def __iter__(self) -> Iterator[list[int]]:
        steps_per_epoch = self.size // self.batch_size
        epoch, step = divmod(self.start, steps_per_epoch)
        while True:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            order = torch.randperm(self.size, generator=generator).tolist()
            for first in range(step * self.batch_size, steps_per_epoch * self.batch_size, self.batch_size):
                yield order[first : first + self.batch_size]
            epoch, step = epoch + 1, 0


class TrainingBatches:
    """An endless stream of shuffled batches that can be taken up again at any step.

    Every epoch is a new permutation; what does not fill a batch is left out of that epoch. The stream draws nothing
    from the global random generator, and its `state_dict` is the number of batches given out.

    Args:
        dataset: images, or (image, ...) tuples.
        batch_size: images a batch; at most the size of the data set.
        seed: decides the order.
        workers: processes that load images; 0 loads them in this one.

    Raises:
        ValueError: an empty data set, or `batch_size` or `workers` out of range.
    """

    def __init__(self, dataset: ImageDataset, batch_size: int, seed: int = 0, workers: int = 0) -> None:
        if not len(dataset):
            raise ValueError("data: expected at least one training image, got an empty data set")
        if not 1 <= batch_size <= len(dataset):
            raise ValueError(f"batch_size: expected 1 to {len(dataset)} (the training images), got {batch_size}")
        if workers < 0:
            raise ValueError(f"workers: expected 0 or more, got {workers}")
        self.dataset, self.batch_size, self.seed, self.workers = dataset, batch_size, seed, workers
        self.step = 0

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the data."""
        return len(self.dataset) // self.batch_size

    def __len__(self) -> int:
        return _ENDLESS

    def __iter__(self) -> Iterator[Tensor]:
        sampler = _EndlessBatches(len(self.dataset), self.batch_size, self.seed, self.step)
        loader: DataLoader[Tensor] = DataLoader(
            self.dataset,  # type: ignore[arg-type]
            batch_sampler=sampler,
            collate_fn=_collate_of(self.dataset),
            num_workers=self.workers,
            generator=torch.Generator().manual_seed(self.seed),
        )
        for batch in loader:
            self.step += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.step = state["step"]


def evaluation_batches(dataset: ImageDataset, batch_size: int, workers: int = 0) -> DataLoader[Tensor]:
    """One pass over `dataset` in order, in batches `[B, C, H, W]`; the last may be smaller.

    Raises:
        ValueError: an empty data set.
    """
    if not len(dataset):
        raise ValueError("data: expected at least one image, got an empty data set")
    return DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_size=batch_size,
        collate_fn=_collate_of(dataset),
        num_workers=workers,
        generator=torch.Generator(),
    )
