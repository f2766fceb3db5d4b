"""Finding a trained model and images that fit it."""

from pathlib import Path
from typing import Any

from aevae_fast.data import ImageSplits, folder, load_images, synthesised_sounds
from aevae_fast.data.sources import SOURCES
from aevae_fast.models import AudioCodec, CodePrior, load_model
from aevae_fast.training import load_settings
from aevae_fast.training.report import MODEL_FOLDER
from aevae_fast.training.settings import SETTINGS_FILE

_DEFAULT_DATA = "mnist"


def load_trained(path: Path) -> Any:
    """The model in `path`: a run, or an exported model.

    Raises:
        FileNotFoundError: `path` holds no model, or a run that has not come to its end.
        ValueError: the model's files are broken, or it is a model of codes.
    """
    exported = path / MODEL_FOLDER
    if not exported.is_dir() and (path / SETTINGS_FILE).is_file():
        family = load_settings(path).family
        raise FileNotFoundError(
            f"{path}: expected a trained model, but this run was not finished; "
            f"go on with: aevae-fast train {family} --resume {path}"
        )
    model = load_model(exported if exported.is_dir() else path)
    if isinstance(model, CodePrior):
        raise ValueError(f"{path}: expected a model of images, got a prior over codes; name the VQ-VAE's run")
    return model


def load_image_model(path: Path) -> Any:
    """The same, but a model of images.

    Raises:
        ValueError: it is an audio codec.
    """
    model = load_trained(path)
    if isinstance(model, AudioCodec):
        raise ValueError(f"{path}: expected a model of images, got an audio codec; its run has pictures/ and sounds/")
    return model


def images_for(model: Any, path: Path, data: str | None) -> ImageSplits:
    """The images `data`, in the model's size where that is free; None means what the run in `path` was trained on. For
    an audio codec the sounds.

    Raises:
        FileNotFoundError, ValueError: there are no such images.
    """
    if isinstance(model, AudioCodec):
        if data not in (None, "sounds"):
            raise ValueError(f"data: expected sounds, which are synthesised, for an audio codec, got {data!r}")
        return synthesised_sounds()
    if data is None:
        run = path if (path / SETTINGS_FILE).is_file() else path.parent  # `path` may be the model within a run
        data = load_settings(run).data if (run / SETTINGS_FILE).is_file() else _DEFAULT_DATA
    size = model.image_size[0]
    if data not in SOURCES and Path(data).is_dir():
        return folder(data, size, model.in_channels)
    return load_images(data, size if data in ("photos", "sprites") else None)
