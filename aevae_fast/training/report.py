"""What a finished run leaves behind: metrics, pictures, the exported model."""

import json
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aevae_fast.data import ImageDataset, ImageSplits, evaluation_batches, spread
from aevae_fast.models import VQVAE, save_model

from .evaluation import Evaluation, evaluate
from .fit import FitResult
from .pictures import draw_code_maps, draw_curves, draw_reconstructions, draw_usage, save_figure

METRICS_FILE = "metrics.json"
MODEL_FOLDER = "model"
PICTURES_FOLDER = "pictures"
_SHOWN, _MAPS = 20, 7  # images in the picture of reconstructions, in that of code maps


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


def write_report(model: VQVAE, images: ImageSplits, out: Path, result: FitResult, settings: dict[str, Any]) -> Report:
    """Measure `model`, write `metrics.json`, `pictures/` and `model/` to `out`."""
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
        "bits_per_image": model.bits_per_image,
        "bits_per_image_at_8_bit": 8 * model.in_channels * model.image_size[0] * model.image_size[1],
        "settings": settings,
        "versions": versions(),
    }
    save_model(model, out / MODEL_FOLDER)
    draw_pictures(model, images, out / PICTURES_FOLDER, train)
    history = result.history
    save_figure(draw_curves(history.train, history.evaluated), out / PICTURES_FOLDER / "curves.png")
    (out / METRICS_FILE).write_text(json.dumps(metrics, indent=2) + "\n")
    return Report(out, train, held_out, metrics)


def draw_pictures(model: VQVAE, images: ImageSplits, folder: Path, train: Evaluation) -> None:
    """Reconstructions and code maps of held-out images, and the usage over the training images, as PNG files."""
    originals = some_images(images.held_out, _SHOWN).to(next(model.parameters()).device)
    indices = model.encode(originals)
    decoded = model.decode(indices)
    save_figure(
        draw_reconstructions(originals, decoded, "Held-out images, and what their codes decode to"),
        folder / "reconstructions.png",
    )
    few = slice(0, None, max(1, -(-len(originals) // _MAPS)))
    maps = draw_code_maps(originals[few], indices[few], decoded[few], model.codebook)
    save_figure(maps, folder / "code_maps.png")
    save_figure(draw_usage(train.usage, "Codebook over the training images"), folder / "codebook_usage.png")


def some_images(dataset: ImageDataset, count: int) -> Tensor:
    """Up to `count` images `[N, C, H, W]`, spread evenly over `dataset`."""
    return next(iter(evaluation_batches(spread(dataset, count), count)))


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
