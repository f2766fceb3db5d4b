"""Carrying out `aevae-fast evaluate --disentanglement`."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from aevae_fast.data import ImageSplits
from aevae_fast.metrics.disentanglement.learners import booster_of
from aevae_fast.training.disentanglement import factors_of, measure_disentanglement
from aevae_fast.training.pictures import draw_information, save_figure

_JSON, _PICTURE = "disentanglement.json", "information.png"


def check(model: Any, images: ImageSplits, booster: str) -> None:
    """See that it can be measured, before anything is.

    Raises:
        TypeError, ValueError: images without factors, a model without a continuous latent, or an unknown booster.
    """
    try:
        factors_of(images.train, images.held_out)
    except ValueError as error:
        raise ValueError(f"disentanglement: {error} ({images.name})") from error
    if not hasattr(model, "latent_shape"):
        raise TypeError(f"disentanglement: expected a model with a continuous latent, got {type(model).__name__}")
    booster_of(booster, 0)


def show(console: Console, model: Any, images: ImageSplits, booster: str, out: Path) -> None:
    """Measure over all images, print a table, and write the numbers and the picture to folder `out`."""
    measured = measure_disentanglement(model, images.train, images.held_out, booster=booster)
    title = f"Disentanglement over {measured.images} images: {', '.join(measured.factor_names)}"
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False)
    for label, value in measured.rows().items():
        table.add_row(label, value)
    console.print(table)
    save_figure(draw_information(measured.mig, measured.factor_names), out / _PICTURE)
    (out / _JSON).write_text(json.dumps({"data": images.name, **measured.as_dict()}, indent=2) + "\n")
    console.print(f"\nLook at [bold]{out / _PICTURE}[/bold]", highlight=False, soft_wrap=True)
    console.print(f"  {out / _JSON}  [dim]the numbers[/dim]", highlight=False, soft_wrap=True)
