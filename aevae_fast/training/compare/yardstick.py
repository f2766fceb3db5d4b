"""What the models are measured with: a classifier's features, real images, and images that are no likeness."""

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from aevae_fast.data import ImageDataset, ImageSplits, evaluation_batches, labels_of, spread
from aevae_fast.metrics import Classifier, frechet_distance, precision_recall, sample_quality, train_classifier

SETS = 4  # of samples, and parts of the held-out images: a difference counts where all of them agree
FEWEST, _MOST = 48, 1000  # images in a set

_NEIGHBOUR = 3  # of precision and recall, the paper's: a larger one lets more scrambled images pass as real

Columns = dict[str, list[float]]  # a measure, and its value in each set


@dataclass(frozen=True)
class Yardstick:
    """Features to measure in, and the real images to measure against.

    The classifier has learned from half of the training images; `others` are of the other half. No model has seen the
    held-out images.

    Attributes:
        classifier: whose features count.
        accuracy: of the classifier on the held-out images, in [0, 1].
        held_out: `[N, C, H, W]`, the reference.
        reference: their features `[N, F]`.
        others: `[SETS * N, C, H, W]`, real images to play the part of samples.
        scrambled: `[SETS * N, C, H, W]`, `others` with each pixel from another one of them: right one by one, no
            likeness together.
        scrambled_reference: their features, `[N, F]` a set.
    """

    classifier: Classifier
    accuracy: float
    held_out: Tensor
    reference: Tensor
    others: Tensor
    scrambled: Tensor
    scrambled_reference: list[Tensor]

    def quality(self, sets: list[Tensor]) -> Columns:
        """`sample_quality` of each set of N images against the held-out ones, and as `scrambled_distance` its Fréchet
        distance to as many scrambled ones."""
        features = [self.classifier.features(images) for images in sets]
        measured = [sample_quality(self.reference, one, k=_NEIGHBOUR) for one in features]
        columns = {
            field.name: [float(getattr(one, field.name)) for one in measured]
            for field in dataclasses.fields(measured[0])
        }
        pairs = zip(self.scrambled_reference, features, strict=True)
        return columns | {"scrambled_distance": [frechet_distance(*pair) for pair in pairs]}

    def precision(self, images: Tensor) -> float:
        """Share of the images that look real."""
        return precision_recall(self.reference, self.classifier.features(images), _NEIGHBOUR).precision

    def real(self) -> list[Tensor]:
        """Sets of real images: what perfect samples would score."""
        return list(self.others.tensor_split(SETS))

    def no_likeness(self) -> list[Tensor]:
        """Sets of scrambled images."""
        return list(self.scrambled.tensor_split(SETS))


def make_yardstick(images: ImageSplits, seed: int, device: torch.device) -> Yardstick:
    """Train the classifier on half of the training images and lay out the real images.

    Raises:
        ValueError: the images have no labels, or there are too few of them.
    """
    size = check_data(images)
    labels, held_out_labels = (_labels(part, images.name) for part in (images.train, images.held_out))
    half = len(images.train) // 2
    order = torch.randperm(len(images.train), generator=torch.Generator().manual_seed(seed))
    train = all_images(images.train)
    classifier = train_classifier(train[order[:half]].to(device), labels[order[:half]].to(device), seed=seed)
    held_out = all_images(spread(images.held_out, size)).to(device)
    others = train[order[half : half + SETS * size]].to(device)
    scrambled = _scramble(others, seed)
    return Yardstick(
        classifier,
        classifier.accuracy(all_images(images.held_out).to(device), held_out_labels),
        held_out,
        classifier.features(held_out),
        others,
        scrambled,
        [classifier.features(part) for part in scrambled.tensor_split(SETS)],
    )


def _scramble(images: Tensor, seed: int) -> Tensor:
    """Each pixel from another image."""
    flat = images.flatten(1)
    order = torch.rand(flat.shape, generator=torch.Generator().manual_seed(seed)).argsort(0)
    return flat.gather(0, order.to(flat.device)).view_as(images)


def check_data(images: ImageSplits) -> int:
    """The number of images in a set.

    Raises:
        ValueError: the images have no labels, or there are too few of them.
    """
    for part in (images.train, images.held_out):
        _labels(part, images.name)
    size = min(len(images.held_out), len(images.train) // 2 // SETS, _MOST)
    if size < FEWEST:
        raise ValueError(
            f"data: expected at least {FEWEST} held-out and {2 * SETS * FEWEST} training images to measure with, "
            f"got {len(images.held_out)} and {len(images.train)}"
        )
    return size


def _labels(dataset: ImageDataset, name: str) -> Tensor:
    labels = labels_of(dataset)
    if labels is None:
        raise ValueError(
            f"data: expected images with labels, for the classifier in whose features samples are measured, but {name} "
            "has none; take mnist or digits, or give your data set an attribute `labels`"
        )
    return labels


def all_images(dataset: ImageDataset) -> Tensor:
    """`[N, C, H, W]`."""
    return torch.cat(list(evaluation_batches(dataset, 256)))
