"""`aevae-fast train vqvae` and `train tokenizer`: images as grids of codes."""

from typing import Annotated

import typer

from .options import WIDEST_LAYER, BatchSize, Data, ImageSize, LearningRate, Schedule, with_training_options

_MODEL = "Model"

_Channels = Annotated[
    int,
    typer.Option(help="Width of the convolutions in encoder and decoder.", max=WIDEST_LAYER, rich_help_panel=_MODEL),
]
_Quantizer = Annotated[
    str,
    typer.Option(
        help="vq; residual: several codebooks, one after the other (--stages); fsq, lfq: codes without a codebook.",
        rich_help_panel=_MODEL,
    ),
]
_Stages = Annotated[
    int | None,
    typer.Option(
        help="Codes a position; default: 4 for residual. The others have 1.", min=1, max=64, rich_help_panel=_MODEL
    ),
]
_CodebookSize = Annotated[int, typer.Option(help="Number of codes.", max=2**20, rich_help_panel=_MODEL)]
_CodebookDim = Annotated[int, typer.Option(help="Width of a code.", max=WIDEST_LAYER, rich_help_panel=_MODEL)]
_GridFactor = Annotated[
    int,
    typer.Option(help="Image side over side of the grid of codes (2, 4, 8, ...).", max=4096, rich_help_panel=_MODEL),
]
_CommitmentWeight = Annotated[
    float, typer.Option(help="Weight that ties the encoder to the codes.", rich_help_panel=_MODEL)
]
_Decay = Annotated[float, typer.Option(help="Decay of the codebook's moving averages.", rich_help_panel=_MODEL)]


@with_training_options
def vqvae(
    context: typer.Context,
    quantizer: _Quantizer = "vq",
    stages: _Stages = None,
    codebook_size: _CodebookSize = 512,
    codebook_dim: _CodebookDim = 64,
    channels: _Channels = 64,
    downsampling_factor: _GridFactor = 4,
    commitment_weight: _CommitmentWeight = 0.25,
    decay: _Decay = 0.99,
) -> None:
    """Train a VQ-VAE: images become grids of codes, and images again."""
    from .running import run_training

    run_training(context, "vqvae")


@with_training_options(without=("data", "image_size", "batch_size", "learning_rate", "schedule"))
def tokenizer(
    context: typer.Context,
    quantizer: _Quantizer = "residual",
    stages: _Stages = None,
    codebook_size: _CodebookSize = 256,
    codebook_dim: _CodebookDim = 64,
    channels: _Channels = 64,
    downsampling_factor: _GridFactor = 8,
    commitment_weight: _CommitmentWeight = 0.25,
    decay: _Decay = 0.99,
    data: Data = "photos",
    image_size: ImageSize = 64,
    batch_size: BatchSize = 16,
    learning_rate: LearningRate = 2e-3,
    schedule: Schedule = "cosine",
) -> None:
    """Train an image tokenizer on photographs: a VQ-VAE in colour, with several codes a position.

    The same as `train vqvae`, but for the defaults. Draws whole photographs as codes and decoded again.
    """
    from .running import run_training

    run_training(context, "vqvae")
