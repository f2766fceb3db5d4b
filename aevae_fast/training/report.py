"""What a finished run leaves behind: metrics, pictures, the exported model."""

import dataclasses
import json
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from aevae_fast.data import ImageSplits
from aevae_fast.models import save_model

from .evaluation import evaluate
from .families import Evaluation, Family
from .fit import FitResult
from .pictures import draw_stage_health, save_figure
from .settings import RunSettings

METRICS_FILE = "metrics.json"
MODEL_FOLDER = "model"
PICTURES_FOLDER = "pictures"


@dataclass(frozen=True)
class Report:
    """Where a run's results are, and what they say.

    Attributes:
        out: folder of the run.
        train: measured on the training images.
        held_out: measured on images that training never saw.
        metrics: what `metrics.json` holds.
    """

    out: Path
    train: Evaluation
    held_out: Evaluation
    metrics: dict[str, Any]


def write_report(
    family: Family, model: Any, images: ImageSplits, out: Path, result: FitResult, settings: RunSettings
) -> Report:
    """Measure `model`, write `metrics.json`, `pictures/`, `model/` and what the family leaves beside them to `out`."""
    model = model.to(result.device)
    train, held_out = evaluate(model, images.train), evaluate(model, images.held_out)
    metrics = {
        "model": type(model).__name__,
        "data": images.name,
        "steps": result.step,
        "seconds": round(result.history.seconds, 2),
        "device": device_name(result.device),
        "held_out": held_out.as_dict(),
        "train": train.as_dict(),
        **family.facts(model),
        "settings": dataclasses.asdict(settings),
        "versions": versions(),
    }
    save_model(model, out / MODEL_FOLDER)
    (out / METRICS_FILE).write_text(json.dumps(metrics, indent=2) + "\n")  # first: pictures are the smaller loss
    for name, figure in family.pictures(model, images, train):
        save_figure(figure, out / PICTURES_FOLDER / f"{name}.png")
    curves = family.curves(result.history.train, result.history.evaluated)
    save_figure(curves, out / PICTURES_FOLDER / "curves.png")
    for name, history in result.health.history.items():
        figure = draw_stage_health(history, f"Health of {name.removeprefix('model.')} in training")
        save_figure(figure, out / PICTURES_FOLDER / f"{name.removeprefix('model.')}_health.png")
    family.leave(model, images, out)
    return Report(out, train, held_out, metrics)


def device_name(device: torch.device) -> str:
    """A device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.processor() or platform.machine()}, {torch.get_num_threads()} threads)"


def versions() -> dict[str, str]:
    """Versions of what a run depends on."""
    return {
        "aevae_fast": version("aevae_fast"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": version("lightning"),
    }
