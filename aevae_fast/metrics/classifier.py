"""A small classifier whose penultimate features are the space that sample quality is measured in.

Fréchet distance, precision and recall, and MMD are usually taken in the features of a large network that must be
downloaded. For small images, features learned on the same images with their labels serve as well, and follow from the
data and a seed alone.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .image_checks import check_images

_SIDE = 4  # strided convolutions halve the image until its longer side is at most this
_STEM = 16
_WIDTHS = (32, 64, 128)
_FEATURES = 64
_SHIFT = 14  # training images move by up to this fraction of their side: otherwise they are learned by heart
_SHRINKAGE = 1e-3  # of the mean variance, added to each: few training images leave directions without any
_LEARNING_RATE = 2e-3
_WEIGHT_DECAY = 1e-2


class Classifier(nn.Module):
    """A convolutional classifier of images of one size; made by `train_classifier`.

    Args:
        image_shape: (C, H, W) of the images.
        classes: the label of each class, int64 `[K]`.
        generator: draws the initial weights, on the CPU.

    Shapes:
        images: `[N, C, H, W]`, values in [0, 1], to logits `[N, K]`.
    """

    classes: Tensor
    center: Tensor
    whitening: Tensor

    def __init__(self, image_shape: tuple[int, int, int], classes: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.image_shape = image_shape
        layers: list[nn.Module] = [_layer(nn.Conv2d, generator, channels, _STEM, 3, padding=1), nn.GELU()]
        before, stage = _STEM, 0
        while max(height, width) > _SIDE:
            after = _WIDTHS[min(stage, len(_WIDTHS) - 1)]
            layers += [_layer(nn.Conv2d, generator, before, after, 3, stride=2, padding=1), nn.GELU()]
            before, stage, height, width = after, stage + 1, -(-height // 2), -(-width // 2)
        layers += [nn.Flatten(), _layer(nn.Linear, generator, before * height * width, _FEATURES)]
        self.body, self.head = nn.Sequential(*layers), _layer(nn.Linear, generator, _FEATURES, len(classes))
        self.register_buffer("classes", classes)
        self.register_buffer("center", torch.zeros(_FEATURES))
        self.register_buffer("whitening", torch.eye(_FEATURES))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(F.gelu(self.body(2 * images - 1)))

    @torch.no_grad()
    def features(self, images: Tensor, batch_size: int = 256) -> Tensor:
        """Penultimate features `[N, F]`, float32 on the classifier's device, of images `[N, C, H, W]` in [0, 1].

        They are whitened: over the training images their mean is 0 and their covariance the identity, so that distances
        are in units of that spread. What tells the classes apart would rule every distance otherwise, and pictures that
        show nothing at all would pass for real ones.

        Raises:
            TypeError, ValueError: images of another shape than the classifier was trained on, or outside [0, 1].
        """
        raw = (self.body(2 * part - 1) for part in self._batches(images, batch_size))
        parts = [(part - self.center) @ self.whitening for part in raw]
        return torch.cat(parts) if parts else self.center.new_empty(0, _FEATURES)

    @torch.no_grad()
    def accuracy(self, images: Tensor, labels: Tensor, batch_size: int = 256) -> float:
        """Share in [0, 1] of images `[N, C, H, W]` whose most likely class is their label, `labels [N]`.

        Raises:
            TypeError, ValueError: images or labels that do not fit, named.
        """
        _check_labels(labels, len(images))
        if not len(images):
            raise ValueError("images: expected at least one image, got none")
        found = torch.cat([self.classes[self(part).argmax(1)] for part in self._batches(images, batch_size)])
        return float((found == labels.to(found.device)).double().mean())

    def _batches(self, images: Tensor, batch_size: int) -> Iterator[Tensor]:
        check_images("images", images)
        if tuple(images.shape[1:]) != self.image_shape:
            raise ValueError(
                f"images: expected {list(self.image_shape)} each, as in training, got {list(images.shape[1:])}"
            )
        for first in range(0, len(images), batch_size):
            yield images[first : first + batch_size].to(self.center)


def _layer(kind: type[nn.Module], generator: torch.Generator, *sizes: int, **options: int) -> nn.Module:
    """A layer whose weights come from the generator; by itself it would draw them from torch's global one."""
    layer = nn.utils.skip_init(kind, *sizes, **options)
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
    nn.init.zeros_(layer.bias)
    return layer


def train_classifier(
    images: Tensor, labels: Tensor | None, *, steps: int = 400, batch_size: int = 100, seed: int = 0
) -> Classifier:
    """Train a small convolutional classifier by cross-entropy, AdamW and a learning rate that falls to 0 (cosine).

    The same images, labels and seed give the same classifier on the same device; torch's global generator is neither
    read nor moved. Measure sample quality on images that it was not trained on: it knows its training images too well.

    Args:
        images: `[N, C, H, W]`, any size and number of channels, values in [0, 1]; training runs on their device.
        labels: class of each image, integer `[N]`, of at least two classes.
        steps: optimizer steps.
        batch_size: images a step, drawn without replacement within an epoch; all N where there are fewer.
        seed: decides the initial weights and the order of the images.

    Returns:
        The classifier in `eval()`, its parameters frozen.

    Raises:
        TypeError, ValueError: images or labels that do not fit, no labels, one class only, or an option out of range.
    """
    check_images("images", images)
    if labels is None:
        raise ValueError("labels: expected the class of each image, integer [N], got None: these images have no labels")
    _check_labels(labels, len(images))
    classes, targets = labels.to(images.device, torch.int64).unique(return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"labels: expected at least 2 classes to tell apart, got {classes.tolist()}")
    for name, value in (("steps", steps), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name}: expected at least 1, got {value}")
    channels, height, width = images.shape[1:]
    generator = torch.Generator().manual_seed(seed)
    classifier = Classifier((channels, height, width), classes.cpu(), generator).to(images.device)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    with torch.enable_grad():
        for step, chosen in zip(range(steps), _orders(len(images), batch_size, generator), strict=False):
            optimizer.param_groups[0]["lr"] = _LEARNING_RATE * (1 + math.cos(math.pi * step / steps)) / 2
            chosen = chosen.to(images.device)
            loss = F.cross_entropy(classifier(_shifted(images[chosen].float(), generator)), targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    classifier.eval().requires_grad_(False)
    _whiten(classifier, images)
    return classifier


def _whiten(classifier: Classifier, images: Tensor) -> None:
    """Set the classifier's centre and whitening from its features of the training images."""
    features = classifier.features(images).double()
    center = features.mean(0)
    centered = features - center
    values, vectors = torch.linalg.eigh(centered.T @ centered / len(images))
    floor = _SHRINKAGE * values.mean() + torch.finfo(torch.float32).tiny
    classifier.center.copy_(center)
    classifier.whitening.copy_(vectors / (values.clamp(min=0) + floor).sqrt() @ vectors.T)


def _orders(count: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices of batch after batch, epoch after epoch; what does not fill a batch is left out of its epoch."""
    batch_size = min(batch_size, count)
    while True:
        order = torch.randperm(count, generator=generator)
        yield from order[: count // batch_size * batch_size].split(batch_size)


def _shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """All images moved by one random offset, in either direction at most a fourteenth of the longer side."""
    height, width = images.shape[2:]
    reach = max(height, width) // _SHIFT
    top, left = torch.randint(2 * reach + 1, (2,), generator=generator).tolist()
    return F.pad(images, (reach,) * 4, mode="replicate")[..., top : top + height, left : left + width]


def _check_labels(labels: Tensor, count: int) -> None:
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels: expected an integer tensor [N], got {type(labels).__name__}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"labels: expected an integer tensor, got {labels.dtype}")
    if labels.shape != (count,):
        raise ValueError(f"labels: expected one for each of the {count} images, [{count}], got {list(labels.shape)}")
