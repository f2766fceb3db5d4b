"""`aevae-fast train codec`: sound as codes of several stages."""

from typing import Annotated

import typer

from .options import MOST_STEPS, WIDEST_LAYER, BatchSize, LearningRate, Schedule, with_training_options

_MODEL, _RUN = "Model", "Run"


@with_training_options(without=("data", "image_size", "steps", "batch_size", "learning_rate", "schedule"))
def codec(
    context: typer.Context,
    stages: Annotated[
        int, typer.Option(help="Codebooks, one after the other.", min=1, max=64, rich_help_panel=_MODEL)
    ] = 8,
    codebook_size: Annotated[
        int, typer.Option(help="Number of codes in each.", max=2**20, rich_help_panel=_MODEL)
    ] = 256,
    latent_dim: Annotated[int, typer.Option(help="Width of a code.", max=WIDEST_LAYER, rich_help_panel=_MODEL)] = 64,
    channels: Annotated[
        int,
        typer.Option(
            help="Width after the first convolution; each further one doubles it.", max=1024, rich_help_panel=_MODEL
        ),
    ] = 32,
    spectral_weight: Annotated[
        float, typer.Option(help="Weight of the spectra beside the waveform.", rich_help_panel=_MODEL)
    ] = 0.1,
    commitment_weight: Annotated[
        float, typer.Option(help="Weight that ties the encoder to the codes.", rich_help_panel=_MODEL)
    ] = 0.25,
    decay: Annotated[
        float, typer.Option(help="Decay of the codebooks' moving averages.", rich_help_panel=_MODEL)
    ] = 0.99,
    steps: Annotated[
        int | None, typer.Option(help="Optimizer steps; default: 1000.", max=MOST_STEPS, rich_help_panel=_RUN)
    ] = None,
    batch_size: BatchSize = 8,
    learning_rate: LearningRate = 4e-3,
    schedule: Schedule = "cosine",
) -> None:
    """Train a small audio codec: sound becomes frames of codes, a few stages of them, and sound again.

    It learns from synthesised notes, chords, plucked strings and chirps at 16 kHz. Every stage adds to the likeness and
    to the bit rate; sounds/ gets held-out sounds as wav files beside what 1, 2, 4 and all stages make of them.
    """
    from .running import run_training

    run_training(context, "codec")
