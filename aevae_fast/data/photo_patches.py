"""Patches of the two colour photographs that come with scikit-learn."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from .images import ImageSplits

_STRIDE = 8
_HELD_OUT_WIDTH = 128  # pixels at the right border of each photograph


class PhotoPatches(Dataset[Tensor]):
    """All square patches of some photographs on a regular grid, cut when asked for.

    Args:
        photos: each uint8 `[3, H, W]`.
        size: side of a patch in pixels.
        stride: step of the grid in pixels.

    Shape of an item: float32 `[3, size, size]`, values in [0, 1].
    """

    def __init__(self, photos: Sequence[Tensor], size: int, stride: int) -> None:
        self.photos, self.size = list(photos), size
        self.corners = [
            (number, top, left)
            for number, photo in enumerate(self.photos)
            for top in range(0, photo.shape[1] - size + 1, stride)
            for left in range(0, photo.shape[2] - size + 1, stride)
        ]

    def __len__(self) -> int:
        return len(self.corners)

    def __getitem__(self, index: int) -> Tensor:
        number, top, left = self.corners[index]
        return self.photos[number][:, top : top + self.size, left : left + self.size].float() / 255


def photos(image_size: int = 32) -> ImageSplits:
    """Patches of scikit-learn's two photographs (427x640, colour); the right border of each is held out.

    Training patches overlap each other; no held-out patch shares a pixel with a training patch.

    Args:
        image_size: side of a patch, 8 to 256 pixels.

    Raises:
        ValueError: `image_size` is out of range.
        ImportError: scikit-learn or Pillow is not installed.
    """
    if not 8 <= image_size <= 256:
        raise ValueError(f"image_size: expected 8 to 256 pixels for the photos, got {image_size}")
    try:
        from sklearn.datasets import load_sample_images

        pictures = [torch.tensor(photo).permute(2, 0, 1).contiguous() for photo in load_sample_images().images]
    except ImportError as error:
        raise ImportError("the photos need scikit-learn and Pillow: pip install aevae_fast[train]") from error
    border = max(_HELD_OUT_WIDTH, image_size)
    train = PhotoPatches([photo[:, :, :-border] for photo in pictures], image_size, _STRIDE)
    held_out = PhotoPatches([photo[:, :, -border:] for photo in pictures], image_size, image_size)
    return ImageSplits("photos", train, held_out)


def whole_photos(images: ImageSplits) -> tuple[list[Tensor], int]:
    """The photographs that these patches were cut from, float32 `[3, H, W]` with values in [0, 1], and how many pixels
    at their right border are held out; none of other images."""
    train, held_out = images.train, images.held_out
    if not (isinstance(train, PhotoPatches) and isinstance(held_out, PhotoPatches)):
        return [], 0
    joined = [torch.cat(parts, 2).float() / 255 for parts in zip(train.photos, held_out.photos, strict=True)]
    return joined, held_out.photos[0].shape[2]
