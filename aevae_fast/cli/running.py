"""Carrying out a training command: load, train, show what came of it."""

import dataclasses
import math
import signal
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from aevae_fast.data import load_images
from aevae_fast.training import Evaluation, FitResult, Report, VQVAESettings, train_vqvae


def run_vqvae(
    settings: VQVAESettings,
    out: Path | None,
    *,
    steps: int | None,
    epochs: float | None,
    resume: bool,
    overwrite: bool,
) -> None:
    """Train as `settings` say and print the result.

    Raises:
        typer.Exit: a signal ended training; status 128 + the signal's number.
        ValueError, FileNotFoundError, TrainingDiverged: as `train_vqvae`.
    """
    if steps is not None and epochs is not None:
        raise ValueError("steps, epochs: expected one of the two, got both")
    console = Console()
    images = load_images(settings.data, settings.image_size)
    if epochs is not None:
        if not 0 < epochs < math.inf:
            raise ValueError(f"epochs: expected a positive number, got {epochs}")
        steps = max(1, round(epochs * len(images.train) / settings.batch_size))
    settings = dataclasses.replace(settings, steps=settings.steps if steps is None else steps)
    out = out or Path("runs") / f"vqvae-{images.name}"
    shape = "x".join(map(str, images.image_shape))
    console.print(
        f"VQ-VAE with {settings.codebook_size} codes on {images.name}: {len(images.train)} training and "
        f"{len(images.held_out)} held-out images of {shape}, {settings.steps} steps",
        highlight=False,
    )
    result, report = train_vqvae(settings, images, out, resume=resume, overwrite=overwrite, console=console)
    if report is None:
        _interrupted(console, out, result)
    else:
        _finished(console, report)


def _interrupted(console: Console, out: Path, result: FitResult) -> None:
    assert result.interrupted_by is not None
    name = "Ctrl-C" if result.interrupted_by == signal.SIGINT else result.interrupted_by.name
    console.print(f"\nStopped by {name} after step {result.step}; everything up to here is saved. Go on with:")
    console.print(f"  aevae-fast train vqvae --resume {out}", style="bold", highlight=False, soft_wrap=True)
    raise typer.Exit(128 + result.interrupted_by)


def _finished(console: Console, report: Report) -> None:
    metrics = report.metrics
    title = f"{metrics['model']} on {metrics['data']}, {metrics['steps']} steps in {metrics['seconds']:.0f} s"
    console.print()
    console.print(result_table(title, {"training": report.train, "held out": report.held_out}))
    console.print(
        f"An image takes {metrics['bits_per_image']:.0f} bits, {metrics['bits_per_image_at_8_bit']} bits uncompressed.",
        highlight=False,
    )
    console.print(f"\nLook at [bold]{report.out / 'pictures'}[/bold]", highlight=False, soft_wrap=True)
    for name, what in (
        ("metrics.json", "the numbers"),
        ("model", "the trained model, for aevae_fast.models.load_model"),
        ("logs", f"curves: tensorboard --logdir {report.out / 'logs'}"),
    ):
        console.print(f"  {report.out / name}  [dim]{what}[/dim]", highlight=False, soft_wrap=True)


def result_table(title: str, columns: dict[str, Evaluation]) -> Table:
    """A table of evaluations side by side."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    for name, evaluation in columns.items():
        table.add_column(f"{name}\n{evaluation.images} images", justify="right")
    values = list(columns.values())
    rows = {
        "mean squared error": [f"{v.reconstruction.mse:.5f}" for v in values],
        "error / variance": [f"{v.reconstruction.nmse:.4f}" for v in values],
        "PSNR (dB)": [f"{v.reconstruction.psnr_db:.2f}" for v in values],
        "codebook perplexity": [f"{v.usage.perplexity:.1f}" for v in values],
        "codes used": [f"{v.usage.usage:.1%}" for v in values],
        "dead codes": [str(v.usage.dead_codes) for v in values],
    }
    for label, cells in rows.items():
        table.add_row(label, *cells)
    return table
