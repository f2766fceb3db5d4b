"""Whole models as a folder of `config.json` and `model.safetensors`: readable, and nothing to unpickle."""

import json
from pathlib import Path

import torch
from torch import nn

from .vqvae import VQVAE

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
FORMAT_VERSION = 1
_MODELS = {"VQVAE": VQVAE}


def save_model(model: VQVAE, folder: str | Path) -> None:
    """Write `model` to `folder`, which is made if it is not there.

    Raises:
        ValueError: the model has an encoder, decoder or quantizer of the user's own, which a config cannot describe.
        ImportError: safetensors is not installed.
    """
    save_file = _safetensors().save_file
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
    save_file(weights, folder / WEIGHTS_FILE)
    config = {"format_version": FORMAT_VERSION, "model": name, "config": model.config}
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")


def load_model(folder: str | Path, device: str | torch.device = "cpu") -> VQVAE:
    """Read a model that `save_model` wrote, in eval mode on `device`.

    Raises:
        FileNotFoundError: `folder` holds no saved model.
        ValueError: the files are of another format or model, or do not fit together.
        ImportError: safetensors is not installed.
    """
    load_file = _safetensors().load_file
    folder = Path(folder)
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / file).is_file():
            raise FileNotFoundError(f"{folder}: expected a saved model, but {file} is not there")
    try:
        saved = json.loads((folder / CONFIG_FILE).read_text())
        name, version, config = saved["model"], saved["format_version"], saved["config"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / CONFIG_FILE}: expected a model's config, got another file ({error!r})") from error
    if version != FORMAT_VERSION or name not in _MODELS:
        raise ValueError(
            f"{folder / CONFIG_FILE}: expected format {FORMAT_VERSION} and one of {', '.join(_MODELS)}, "
            f"got format {version!r} and {name!r}"
        )
    model = _MODELS[name](**config)
    _load_weights(model, load_file(folder / WEIGHTS_FILE), folder / WEIGHTS_FILE)
    return model.to(device).eval()


def _load_weights(model: nn.Module, weights: dict[str, torch.Tensor], file: Path) -> None:
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
    return safetensors.torch
