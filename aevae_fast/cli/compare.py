"""`aevae-fast compare`: what is claimed of autoencoders and VAEs, put to the test."""

from pathlib import Path
from typing import Annotated

import typer

from .options import MOST_STEPS, WIDEST_LATENT, WIDEST_LAYER, BatchSize, Device, LearningRate, Overwrite, Seed

_MODEL, _RUN = "Models", "Run"


def compare(
    context: typer.Context,
    data: Annotated[str, typer.Option(help="mnist or digits: images with labels.", rich_help_panel="Data")] = "mnist",
    out: Annotated[
        Path | None, typer.Option(help="Folder for what comes of it; default: runs/compare-DATA.", rich_help_panel=_RUN)
    ] = None,
    steps: Annotated[
        int, typer.Option(help="Optimizer steps of each model.", max=MOST_STEPS, rich_help_panel=_RUN)
    ] = 2000,
    batch_size: BatchSize = 64,
    learning_rate: LearningRate = 1e-3,
    seed: Seed = 0,
    device: Device = "auto",
    latent_dim: Annotated[
        int, typer.Option(help="Size of the latent.", max=WIDEST_LATENT, rich_help_panel=_MODEL)
    ] = 16,
    noise: Annotated[
        float, typer.Option(help="Of the noisy autoencoder, as `train ae --noise`.", rich_help_panel=_MODEL)
    ] = 0.05,
    beta: Annotated[float, typer.Option(help="Of the β-VAE.", rich_help_panel=_MODEL)] = 4.0,
    body: Annotated[str, typer.Option(help="convolutional or mlp.", rich_help_panel=_MODEL)] = "convolutional",
    channels: Annotated[
        int, typer.Option(help="Width of the convolutions.", max=WIDEST_LAYER, rich_help_panel=_MODEL)
    ] = 32,
    resume: Annotated[
        Path | None,
        typer.Option(help="Go on with the comparison in this folder, as it was begun.", rich_help_panel=_RUN),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Train an autoencoder, a noisy one, a VAE and a β-VAE alike, and see which of the textbook claims hold.

    (a) Points drawn uniformly from an autoencoder's latents decode to nothing like the data. (b) Noise on the latents
    makes it more robust, but no better at generating. (c) A VAE's samples resemble the data, and its interpolations are
    smooth. (d) β > 1 trades reconstruction for structure.

    Writes compare.md (verdicts, numbers, rules), compare.png (originals, reconstructions, samples and interpolations of
    each), metrics.json, and the trained models. Some minutes on a CPU.
    """
    from .comparing import run_compare

    run_compare(context)
