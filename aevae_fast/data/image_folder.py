"""A folder of image files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .images import ImageSplits, ImageTensor
from .splits import random_split

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_IN_MEMORY_BYTES = 2**30


class ImageFiles(Dataset[Tensor]):
    """Image files, decoded when asked for: shorter side scaled to `image_size`, centre cut out.

    Args:
        files: paths of image files.
        image_size: side of the square image in pixels.
        channels: 1 for grey, 3 for colour.

    Shape of an item: float32 `[channels, image_size, image_size]`, values in [0, 1].

    Raises:
        ValueError: on access, when a file is not a readable image; names the file.
    """

    def __init__(self, files: Sequence[Path], image_size: int, channels: int) -> None:
        self.files, self.image_size, self.channels = list(files), image_size, channels

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        from PIL import Image, ImageOps

        file = self.files[index]
        try:
            with Image.open(file) as opened:
                image = ImageOps.exif_transpose(opened).convert("L" if self.channels == 1 else "RGB")
        except (OSError, SyntaxError) as error:
            raise ValueError(f"{file}: expected a readable image, got: {error}") from error
        square = ImageOps.fit(image, (self.image_size, self.image_size), Image.Resampling.LANCZOS)
        pixels = torch.from_numpy(np.array(square)).reshape(self.image_size, self.image_size, self.channels)
        return pixels.permute(2, 0, 1).float() / 255


def folder(path: str | Path, image_size: int = 64, channels: int = 3) -> ImageSplits:
    """The images in `path` and the folders below it; a fixed tenth of them is held out.

    Sets of up to 1 GiB are decoded once and kept in memory; larger ones are decoded as they are needed.

    Args:
        path: folder with image files (png, jpeg, webp, bmp, gif, tiff).
        image_size: side of the square that every image is scaled and cut to, in pixels.
        channels: 1 for grey, 3 for colour.

    Raises:
        FileNotFoundError: `path` is not a folder.
        ValueError: fewer than two image files, an unreadable file, or an argument out of range.
    """
    path = Path(path)
    if image_size < 1:
        raise ValueError(f"image_size: expected a positive number of pixels, got {image_size}")
    if channels not in (1, 3):
        raise ValueError(f"channels: expected 1 (grey) or 3 (colour), got {channels}")
    if not path.is_dir():
        raise FileNotFoundError(f"data: expected a folder of images, but {path} is not a folder")
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in EXTENSIONS and file.is_file())
    if len(files) < 2:
        raise ValueError(f"data: expected at least 2 image files ({', '.join(EXTENSIONS)}) in {path}, got {len(files)}")
    train, held_out = (
        _maybe_in_memory(ImageFiles([files[i] for i in part], image_size, channels))
        for part in random_split(len(files))
    )
    return ImageSplits(path.name, train, held_out)


def _maybe_in_memory(files: ImageFiles) -> ImageFiles | ImageTensor:
    size = len(files) * files.channels * files.image_size**2 * 4  # float32
    if size > _IN_MEMORY_BYTES:
        return files
    return ImageTensor(torch.stack([files[i] for i in range(len(files))]))
