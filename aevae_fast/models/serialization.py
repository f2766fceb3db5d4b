"""Whole models as a folder of `config.json` and `model.safetensors`: readable, and nothing to unpickle."""

import json
from pathlib import Path

import torch

from .autoencoder import Autoencoder
from .code_prior import CodePrior
from .codec import AudioCodec
from .factor_vae import FactorVAE
from .files import replacing
from .iwae import IWAE
from .vae import VAE
from .vqvae import VQVAE

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
FORMAT_VERSION = 1

Model = VQVAE | Autoencoder | VAE | CodePrior | AudioCodec
_MODELS: dict[str, type[VQVAE] | type[Autoencoder] | type[VAE] | type[CodePrior] | type[AudioCodec]] = {
    "VQVAE": VQVAE,
    "Autoencoder": Autoencoder,
    "VAE": VAE,
    "IWAE": IWAE,
    "FactorVAE": FactorVAE,
    "CodePrior": CodePrior,
    "AudioCodec": AudioCodec,
}


def save_model(model: Model, folder: str | Path) -> None:
    """Write `model` to `folder`, which is made if it is not there. A model that is there already is replaced only once
    the new one is written.

    Raises:
        ValueError: the model has a part of the user's own, which a config cannot describe, or is of another class.
        ImportError: safetensors is not installed.
    """
    save_file = _safetensors().torch.save_file
    name = type(model).__name__
    if _MODELS.get(name) is not type(model):
        raise ValueError(f"model: expected one of {', '.join(_MODELS)}, got {name}")
    if model.own_parts:
        raise ValueError(
            f"model: expected the built-in parts, got an own {' and '.join(model.own_parts)}; "
            "save model.state_dict() and build the model in code"
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()}
    config = {"format_version": FORMAT_VERSION, "model": name, "config": model.config}
    with replacing(folder / WEIGHTS_FILE, folder / CONFIG_FILE) as (weights_file, config_file):
        save_file(weights, weights_file)
        config_file.write_text(json.dumps(config, indent=2) + "\n")


def load_model(folder: str | Path, device: str | torch.device = "cpu") -> Model:
    """Read a model that `save_model` wrote, in eval mode on `device`.

    Raises:
        FileNotFoundError: `folder` holds no saved model.
        ValueError: a file is broken, of another format or model, or the two do not fit together.
        ImportError: safetensors is not installed.
    """
    _safetensors()  # before anything is looked at
    folder = Path(folder)
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / file).is_file():
            raise FileNotFoundError(f"{folder}: expected a saved model, but {file} is not there")
    model = _read_config(folder / CONFIG_FILE)
    _read_weights(model, folder / WEIGHTS_FILE)
    return model.to(device).eval()


def _read_config(file: Path) -> Model:
    """The model that `file` describes, its weights not yet read."""
    try:
        saved = json.loads(file.read_bytes())
        name, version, config = saved["model"], saved["format_version"], saved["config"]
    except (ValueError, KeyError, TypeError) as error:  # not text, not JSON, a key that is missing, not an object
        raise ValueError(f"{file}: expected a model's config, got another file ({error!r})") from error
    known = isinstance(name, str) and name in _MODELS
    if version != FORMAT_VERSION or not known:
        raise ValueError(
            f"{file}: expected format {FORMAT_VERSION} and one of {', '.join(_MODELS)}, "
            f"got format {version!r} and {name!r}"
        )
    if not isinstance(config, dict):
        raise ValueError(f"{file}: expected an object of arguments of {name} under 'config', got {config!r}")
    try:
        model = _MODELS[name](**config)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:  # the last: sizes that no memory holds
        raise ValueError(f"{file}: expected arguments of {name} under 'config', got others: {error}") from error
    if model.own_parts:
        raise ValueError(f"{file}: expected plain values under 'config', got {' and '.join(model.own_parts)}")
    return model


def _read_weights(model: Model, file: Path) -> None:
    try:
        weights = _safetensors().torch.load_file(file)
    except _safetensors().SafetensorError as error:
        raise ValueError(f"{file}: expected weights in the safetensors format, got a broken file ({error})") from error
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise ValueError(f"{file}: the weights do not fit the config beside them: {first}") from error


def _safetensors():  # type: ignore[no-untyped-def]
    try:
        import safetensors.torch
    except ImportError as error:
        raise ImportError("saving and loading models needs safetensors: pip install aevae_fast[train]") from error
    return safetensors
