"""`aevae-fast train`: train a model on images."""

from typing import Annotated

import typer

from .code_prior import code_prior
from .codec import codec
from .options import MOST_STEPS, WIDEST_LATENT, WIDEST_LAYER, with_training_options
from .vqvae import tokenizer, vqvae

train_app = typer.Typer(help="Train a model on images.", no_args_is_help=True)

_MODEL = "Model"

_Channels = Annotated[
    int,
    typer.Option(help="Width of the convolutions in encoder and decoder.", max=WIDEST_LAYER, rich_help_panel=_MODEL),
]
_LatentDim = Annotated[
    int,
    typer.Option(
        help="Numbers that an image is squeezed into: the size of the latent.",
        max=WIDEST_LATENT,
        rich_help_panel=_MODEL,
    ),
]
_Likelihood = Annotated[
    str,
    typer.Option(
        help="What the decoder says of a pixel, and so how errors count: bernoulli (grey levels as probabilities of "
        "white), gaussian (squared error, its scale learned), discretized_logistic, discretized_logistic_mixture or "
        "categorical (256 levels).",
        rich_help_panel=_MODEL,
    ),
]
_Body = Annotated[
    str, typer.Option(help="Encoder and decoder: convolutional, or mlp (faster, any size).", rich_help_panel=_MODEL)
]
_Factor = Annotated[
    int,
    typer.Option(
        help="Image side over side of the coarsest map of features (2, 4, 8, ...).", max=4096, rich_help_panel=_MODEL
    ),
]
_Beta = Annotated[
    float,
    typer.Option(
        help="Weight of the KL term: how strongly latents are drawn to the prior N(0, 1). 1 is the VAE; with "
        "--capacity it weighs the distance from it.",
        rich_help_panel=_MODEL,
    ),
]
_Capacity = Annotated[
    float | None, typer.Option(help="Nats that the KL is held to, instead of 0 (Burgess 2018).", rich_help_panel=_MODEL)
]
_Warmup = Annotated[
    int,
    typer.Option(
        help="Steps over which β (with --capacity: the capacity) rises from 0.", max=MOST_STEPS, rich_help_panel=_MODEL
    ),
]
_Prior = Annotated[
    str | None,
    typer.Option(
        help="What latents are drawn to, and new images drawn from: standard (N(0, 1)), gaussian (learned), mixture, "
        "vamp (the posteriors of learned images), planar, radial; with the package zuko coupling, spline or "
        "autoregressive. Left out, the posterior's own: N(0, 1), or uniform.",
        rich_help_panel=_MODEL,
    ),
]
_Latent = Annotated[
    str,
    typer.Option(
        help="What the encoder says of an image's latent: gaussian, full_covariance, beta, dirichlet, kumaraswamy or "
        "flow.",
        rich_help_panel=_MODEL,
    ),
]


@train_app.callback()
def _train() -> None:
    """Train a model on images."""


train_app.command()(vqvae)


@train_app.command()
@with_training_options
def ae(
    context: typer.Context,
    latent_dim: _LatentDim = 16,
    noise: Annotated[
        float,
        typer.Option(
            help="Variance of the noise on the latent in training, in units of its mean square radius; 0.05 is the "
            "noisy autoencoder of textbooks.",
            rich_help_panel=_MODEL,
        ),
    ] = 0.0,
    likelihood: _Likelihood = "bernoulli",
    body: _Body = "convolutional",
    channels: _Channels = 32,
    downsampling_factor: _Factor = 4,
) -> None:
    """Train an autoencoder: images become a few numbers, and images again. --noise makes it a noisy one.

    It reconstructs well. Nothing keeps its latents in a known place, so new images are a matter of luck: see `generate`
    and `compare`.
    """
    _run(context, "ae")


@train_app.command()
@with_training_options
def vae(
    context: typer.Context,
    latent_dim: _LatentDim = 16,
    beta: _Beta = 1.0,
    capacity: _Capacity = None,
    warmup: _Warmup = 0,
    prior: _Prior = None,
    latent: _Latent = "gaussian",
    likelihood: _Likelihood = "bernoulli",
    body: _Body = "convolutional",
    channels: _Channels = 32,
    downsampling_factor: _Factor = 4,
) -> None:
    """Train a VAE: an autoencoder whose latents follow N(0, 1), so that draws from it decode to new images.

    Reports the ELBO, reconstruction and KL in nats an image.
    """
    _run(context, "vae")


@train_app.command("beta-vae")
@with_training_options
def beta_vae(
    context: typer.Context,
    latent_dim: _LatentDim = 16,
    beta: _Beta = 4.0,
    capacity: _Capacity = None,
    warmup: _Warmup = 0,
    prior: _Prior = None,
    latent: _Latent = "gaussian",
    likelihood: _Likelihood = "bernoulli",
    body: _Body = "convolutional",
    channels: _Channels = 32,
    downsampling_factor: _Factor = 4,
) -> None:
    """Train a β-VAE: a VAE whose KL term counts β times (4), for fewer, more independent latents that say less.

    The same as `train vae`, but for the default of --beta.
    """
    _run(context, "vae")


@train_app.command("beta-tcvae")
@with_training_options
def beta_tcvae(
    context: typer.Context,
    latent_dim: _LatentDim = 16,
    alpha: Annotated[
        float, typer.Option(help="Weight of what the latent tells of the image.", rich_help_panel=_MODEL)
    ] = 1.0,
    beta: Annotated[
        float, typer.Option(help="Weight of how much the latent's numbers tell of each other.", rich_help_panel=_MODEL)
    ] = 6.0,
    gamma: Annotated[
        float, typer.Option(help="Weight of how far each number lies from the prior.", rich_help_panel=_MODEL)
    ] = 1.0,
    sampling: Annotated[
        str, typer.Option(help="How a batch stands for the data: weighted or stratified.", rich_help_panel=_MODEL)
    ] = "weighted",
    warmup: Annotated[
        int, typer.Option(help="Steps over which β rises from 0.", max=MOST_STEPS, rich_help_panel=_MODEL)
    ] = 0,
    likelihood: _Likelihood = "bernoulli",
    body: _Body = "convolutional",
    channels: _Channels = 32,
    downsampling_factor: _Factor = 4,
) -> None:
    """Train a β-TCVAE: a VAE with only the total correlation weighed β times, for independent latents that still say
    much.

    Its KL is α·(mutual information) + β·(total correlation) + γ·(dimension-wise KL), each estimated from a batch.
    """
    _run(context, "beta-tcvae")


for _command in (tokenizer, codec):
    train_app.command()(_command)
train_app.command("code-prior")(code_prior)


def _run(context: typer.Context, family: str) -> None:
    from .running import run_training

    run_training(context, family)
