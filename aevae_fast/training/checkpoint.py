"""The file that holds the state of a run, and whether a run can go on from it."""

import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

_EXPECTED = ("state_dict", "optimizer_states", "callbacks", "loops", "global_step")

_BROKEN = (zipfile.BadZipFile, zlib.error, pickle.UnpicklingError, EOFError, RuntimeError, LookupError, ValueError)


def checkpoint_file(out: str | Path) -> Path:
    """Where a run in folder `out` keeps its state."""
    return Path(out) / "checkpoints" / "last.ckpt"


def check_checkpoint(file: Path, module: nn.Module, steps: int) -> None:
    """See that `file` is whole and holds a state of `module` after at most `steps` steps; changes nothing.

    Raises:
        FileNotFoundError: `file` is not there.
        ValueError: it is broken, something else, the state of another model, or further on.
    """
    if not file.is_file():
        raise FileNotFoundError(f"resume: expected the state of a run in {file}, but it is not there")
    state = _read(file)
    if not isinstance(state, dict) or not all(name in state for name in _EXPECTED):
        raise ValueError(f"resume: expected the state of a run in {file}, got another file")
    saved = {name: list(value.shape) for name, value in state["state_dict"].items()}
    expected = {name: list(value.shape) for name, value in module.state_dict().items()}
    for name in sorted(saved.keys() | expected.keys()):
        if saved.get(name) != expected.get(name):
            raise ValueError(
                f"resume: expected the state of this model in {file}, but {name} has shape "
                f"{expected.get(name, 'none')} in the model and {saved.get(name, 'none')} in the file"
            )
    if state["global_step"] > steps:
        raise ValueError(
            f"steps: expected at least the {state['global_step']} that the run in {file} made, got {steps}"
        )


def _read(file: Path) -> Any:
    try:
        with zipfile.ZipFile(file) as archive:  # torch.load looks at no checksum
            broken = archive.testzip() if torch.serialization.get_crc32_options() else None
        if broken:
            raise zipfile.BadZipFile(f"wrong checksum of {broken}")
        return torch.load(file, map_location="cpu", weights_only=True)
    except _BROKEN as error:
        first = str(error).strip().partition("\n")[0]
        raise ValueError(f"resume: expected the state of a run in {file}, got a broken file ({first})") from error
