"""Finding a trained model and images that fit it."""

from pathlib import Path

from aevae_fast.data import ImageSplits, folder, load_images
from aevae_fast.data.sources import SOURCES
from aevae_fast.models import VQVAE, load_model
from aevae_fast.training.report import MODEL_FOLDER


def load_trained(path: Path, data: str) -> tuple[VQVAE, ImageSplits]:
    """The model in `path` (a run, or an exported model) and the images `data`, in the model's size where that is free.

    Raises:
        FileNotFoundError: `path` holds no model.
        ValueError: no such data.
    """
    exported = path / MODEL_FOLDER
    model = load_model(exported if exported.is_dir() else path)
    size = model.image_size[0]
    if data not in SOURCES and Path(data).is_dir():
        return model, folder(data, size, model.in_channels)
    return model, load_images(data, size if data == "photos" else None)
