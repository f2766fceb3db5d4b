"""What decides a run, as plain values that are kept beside it."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from aevae_fast.models.files import replacing

SETTINGS_FILE = "settings.json"
FAMILY_KEY = "family"


@dataclass(frozen=True)
class RunSettings:
    """Everything that decides a run, but for the model; each family of models adds its own.

    Attributes:
        data: a name or path that `aevae_fast.data.load_images` takes.
        image_size: side of the images in pixels; None takes the source's own.
        steps: optimizer steps.
        batch_size: images a step.
        learning_rate: Adam's.
        schedule: how the learning rate goes: constant or cosine.
        seed: decides initial weights, order of images and random numbers.
        device: auto, cpu, cuda or mps.
        precision: 32-true, bf16-mixed or 16-mixed.
        workers: processes that load images.
    """

    family: ClassVar[str]  # its name in `aevae_fast.training.families.FAMILIES`

    data: str = "mnist"
    image_size: int | None = None
    steps: int = 2000
    batch_size: int = 64
    learning_rate: float = 1e-3
    schedule: str = "constant"
    seed: int = 0
    device: str = "auto"
    precision: str = "32-true"
    workers: int = 0

    def save(self, out: Path) -> None:
        """Write to `settings.json` in `out`."""
        save_settings(self, self.family, out)


def save_settings(settings: Any, family: str, out: Path) -> None:
    """Write a dataclass of plain values, and the kind of run that it decides, to `settings.json` in `out`; what is
    there stays until all is written."""
    out.mkdir(parents=True, exist_ok=True)
    content = {FAMILY_KEY: family, **dataclasses.asdict(settings)}
    with replacing(out / SETTINGS_FILE) as (file,):
        file.write_text(json.dumps(content, indent=2) + "\n")


def read_settings(out: Path) -> dict[str, object]:
    """What `settings.json` in `out` holds.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it holds something else.
    """
    file = out / SETTINGS_FILE
    if not file.is_file():
        raise FileNotFoundError(f"expected the folder of a run, but {file} is not there")
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file}: expected the settings of a run, got something else ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file}: expected the settings of a run, got {content!r}")
    return content
