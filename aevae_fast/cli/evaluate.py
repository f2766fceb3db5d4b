"""`aevae-fast evaluate` and `aevae-fast reconstruct`: use a trained model."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Trained, TrainedOn


def evaluate(model: Trained, data: TrainedOn = None) -> None:
    """Measure a trained model on images: reconstruction error and codebook usage."""
    from rich.console import Console

    from aevae_fast import training

    from .running import result_table
    from .trained import images_for, load_trained

    trained = load_trained(model)
    images = images_for(trained, model, data)
    columns = {"training": images.train, "held out": images.held_out}
    measured = {name: training.evaluate(trained, part) for name, part in columns.items()}
    Console().print(result_table(f"{model} on {images.name}", measured))


def reconstruct(
    model: Trained,
    data: TrainedOn = None,
    out: Annotated[Path, typer.Option(help="Picture to write (PNG).")] = Path("reconstructions.png"),
    count: Annotated[int, typer.Option(help="Number of held-out images.", min=1)] = 20,
) -> None:
    """Draw held-out images beside what a trained model makes of them."""
    from aevae_fast.training.families import some_images
    from aevae_fast.training.pictures import draw_reconstructions, save_figure

    from .trained import images_for, load_trained

    trained = load_trained(model)
    originals = some_images(images_for(trained, model, data).held_out, count)
    title = "Held-out images, and what their codes decode to"
    save_figure(draw_reconstructions(originals, trained.reconstruct(originals), title), out)
    print(f"Look at {out}")
