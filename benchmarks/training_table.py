"""What trainings came to, as README shows it, from the records of `training_quality` and `vae_quality`."""

import json
from pathlib import Path
from typing import Any

from .record import origin
from .tables import table


def vq_training(folder: Path) -> list[str]:
    """Mean and spread over seeds of the same model with different quantizers, from `benchmarks.training_quality`."""
    record = _read(folder / "training_quality.json")
    if record is None:
        return []
    settings = record["settings"]
    title = f"### Training: a VQ-VAE on {settings['data']}, {settings['steps']} steps, {settings['seeds']} seeds"
    rows = [["quantizer", "held-out error / variance", "perplexity", "dead codes in training"]]
    for name, layer in record["layers"].items():
        figures = [layer["held_out"]["nmse"], layer["held_out"]["perplexity"], layer["train"]["dead_codes"]]
        cells = (f"{f['mean']:.{n}f} ± {f['std']:.{n}f}" for f, n in zip(figures, (4, 0, 0), strict=True))
        rows.append([name, *cells])
    return [title, f"{record['device']}, {origin(record)}", table(rows)]


def vae_training(folder: Path) -> list[str]:
    """Mean and spread over seeds of a VAE on our layer and in plain PyTorch, from `benchmarks.vae_quality`."""
    record = _read(folder / "vae_quality.json")
    if record is None:
        return []
    settings = record["settings"]
    title = f"### Training: a VAE on {settings['data']}, {settings['steps']} steps, {settings['seeds']} seeds"
    network = "-".join(map(str, settings["network"]))
    text = (
        f"{record['device']}, {origin(record)} Network {network}; nats an image, held out; log p(x) by importance "
        f"sampling with {settings['samples']} samples"
    )
    rows = [["", "ELBO", "KL", "log p(x)"]]
    for name, model in record["models"].items():
        figures = (model["held_out"][figure] for figure in ("elbo", "kl", "log_likelihood"))
        rows.append([name, *(f"{f['mean']:.2f} ± {f['std']:.2f}" for f in figures)])
    return [title, text, table(rows)]


def _read(file: Path) -> dict[str, Any] | None:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
