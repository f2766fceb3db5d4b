"""`aevae-fast train code-prior`: what a VQ-VAE needs to draw new images."""

from pathlib import Path
from typing import Annotated

import typer

from .options import WIDEST_LAYER, BatchSize, LearningRate, with_training_options

_MODEL, _RUN = "Model", "Run"


@with_training_options(without=("data", "image_size", "out", "batch_size", "learning_rate"))
def code_prior(
    context: typer.Context,
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="Folder of a trained VQ-VAE's run; its images are trained on.")
    ] = None,
    channels: Annotated[
        int, typer.Option(help="Width of the transformer.", max=WIDEST_LAYER, rich_help_panel=_MODEL)
    ] = 128,
    layers: Annotated[
        int, typer.Option(help="Blocks of attention and perceptron.", max=1000, rich_help_panel=_MODEL)
    ] = 2,
    heads: Annotated[
        int, typer.Option(help="Heads of the attention; they divide --channels.", max=4096, rich_help_panel=_MODEL)
    ] = 4,
    dropout: Annotated[
        float, typer.Option(help="Share of the features that training leaves out.", rich_help_panel=_MODEL)
    ] = 0.1,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for everything that comes of it; default: RUN/code-prior, where generate looks.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    batch_size: BatchSize = 32,
    learning_rate: LearningRate = 2e-3,
) -> None:
    """Train a prior over the codes of a trained VQ-VAE, so that `generate` can draw new images from it.

    It learns which code follows which, in the codes of the VQ-VAE's own training images. Reports -log p of the codes in
    nats and bits an image.
    """
    from .prior_runs import name_vqvae
    from .running import run_training

    name_vqvae(context)
    run_training(context, "code-prior")
