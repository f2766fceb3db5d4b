"""Sources of images by name."""

from collections.abc import Callable
from pathlib import Path

from .bundled import digits, mnist
from .image_folder import folder
from .images import ImageSplits
from .photo_patches import photos
from .sprites_sources import dsprites, sprites

_FIXED: dict[str, Callable[[], ImageSplits]] = {"mnist": mnist, "digits": digits}
_SIZED: dict[str, Callable[..., ImageSplits]] = {"photos": photos, "sprites": sprites}
SOURCES = (*_FIXED, *_SIZED)


def load_images(source: str, image_size: int | None = None) -> ImageSplits:
    """Load a source by name, or a folder of image files or the dSprites archive by path.

    Args:
        source: `mnist`, `digits`, `photos`, `sprites`, or the path of a folder or of dSprites' `.npz` file.
        image_size: side of the images in pixels, for `photos` and `sprites` (default 32) and folders (default 64).

    Raises:
        ValueError: `source` is none of these, or `image_size` does not fit it.
    """
    archive = Path(source).suffix == ".npz" and Path(source).is_file()
    if source in _FIXED or archive:
        splits = dsprites(source) if archive else _FIXED[source]()
        own = splits.image_shape[1]
        if image_size not in (None, own):
            raise ValueError(f"image_size: expected {own}, the size of the {source} images, got {image_size}")
        return splits
    if source in _SIZED:
        return _SIZED[source]() if image_size is None else _SIZED[source](image_size)
    if not Path(source).is_dir():
        names = ", ".join(SOURCES)
        raise ValueError(f"data: expected {names}, a folder of images or dSprites' .npz, got {source!r}")
    return folder(source) if image_size is None else folder(source, image_size)
