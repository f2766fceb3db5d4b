"""`aevae-fast evaluate` and `aevae-fast reconstruct`: use a trained model."""

from pathlib import Path
from typing import Annotated

import typer

_Model = Annotated[Path, typer.Argument(help="Folder of a run, or of an exported model.")]
_Data = Annotated[str, typer.Option(help="mnist, digits, photos, or a folder of images.")]


def evaluate(model: _Model, data: _Data = "mnist") -> None:
    """Measure a trained model on images: reconstruction error and codebook usage."""
    from rich.console import Console

    from aevae_fast import training

    from .running import result_table
    from .trained import load_trained

    trained, images = load_trained(model, data)
    columns = {"training": images.train, "held out": images.held_out}
    measured = {name: training.evaluate(trained, part) for name, part in columns.items()}
    Console().print(result_table(f"{model} on {images.name}", measured))


def reconstruct(
    model: _Model,
    data: _Data = "mnist",
    out: Annotated[Path, typer.Option(help="Picture to write (PNG).")] = Path("reconstructions.png"),
    count: Annotated[int, typer.Option(help="Number of held-out images.", min=1)] = 20,
) -> None:
    """Draw held-out images beside what a trained model makes of them."""
    from aevae_fast.training.pictures import draw_reconstructions, save_figure
    from aevae_fast.training.report import some_images

    from .trained import load_trained

    trained, images = load_trained(model, data)
    originals = some_images(images.held_out, count)
    title = "Held-out images, and what their codes decode to"
    save_figure(draw_reconstructions(originals, trained.reconstruct(originals), title), out)
    print(f"Look at {out}")
