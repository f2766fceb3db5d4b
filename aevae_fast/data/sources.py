"""Sources of images by name."""

from collections.abc import Callable
from pathlib import Path

from .bundled import digits, mnist
from .image_folder import folder
from .images import ImageSplits
from .photo_patches import photos

_FIXED: dict[str, Callable[[], ImageSplits]] = {"mnist": mnist, "digits": digits}
SOURCES = (*_FIXED, "photos")


def load_images(source: str, image_size: int | None = None) -> ImageSplits:
    """Load a source by name, or a folder of image files by path.

    Args:
        source: `mnist`, `digits`, `photos`, or the path of a folder.
        image_size: side of the images in pixels, for `photos` (default 32) and folders (default 64).

    Raises:
        ValueError: `source` is neither a name nor a folder, or `image_size` does not fit it.
    """
    if source in _FIXED:
        splits = _FIXED[source]()
        own = splits.image_shape[1]
        if image_size not in (None, own):
            raise ValueError(f"image_size: expected {own}, the size of the {source} images, got {image_size}")
        return splits
    if source == "photos":
        return photos() if image_size is None else photos(image_size)
    if not Path(source).is_dir():
        raise ValueError(f"data: expected {', '.join(SOURCES)} or a folder of images, got {source!r}")
    return folder(source) if image_size is None else folder(source, image_size)
