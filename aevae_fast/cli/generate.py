"""`aevae-fast generate` and `aevae-fast interpolate`: new images from a trained model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .options import LARGEST_SEED, Picture, Trained, TrainedOn


def generate(
    model: Trained,
    count: Annotated[int, typer.Option("-n", "--count", help="Number of images.", min=1, max=10_000)] = 64,
    out: Picture = Path("samples.png"),
    seed: Annotated[int, typer.Option(help="Decides which images.", min=0, max=LARGEST_SEED)] = 0,
    temperature: Annotated[
        float | None, typer.Option(help="Of a VQ-VAE's codes: below 1 favours what is likely; default: 1.")
    ] = None,
) -> None:
    """Draw new images from a trained model.

    A VAE decodes draws from its prior. An autoencoder has none: it decodes latents drawn evenly from the range that the
    training images take, and what comes out is often no likeness of them. A VQ-VAE decodes codes that a prior over them
    draws: train one with `train code-prior` first.
    """
    import torch

    from aevae_fast.models import VQVAE, NotTrainedError
    from aevae_fast.training.pictures import draw_grid, save_figure

    from .prior_runs import load_prior
    from .trained import load_image_model

    trained = load_image_model(model)
    if isinstance(trained, VQVAE):
        trained.check_one_code()
    over_codes: dict[str, Any] = {}
    if isinstance(trained, VQVAE):
        over_codes = {"prior": load_prior(trained, model), "temperature": 1.0 if temperature is None else temperature}
    elif temperature is not None:
        raise ValueError(f"temperature: expected a VQ-VAE, whose codes are drawn by it, got a {type(trained).__name__}")
    try:
        images = trained.sample(count, generator=torch.Generator().manual_seed(seed), **over_codes)
    except NotTrainedError as error:
        raise ValueError(f"{model}: expected a trained model, but {error}") from error
    save_figure(draw_grid(images, f"{len(images)} images from {type(trained).__name__}"), out)
    print(f"Look at {out}")


def interpolate(
    model: Trained,
    data: TrainedOn = None,
    mode: Annotated[str, typer.Option(help="linear: straight; slerp: along the arc around the origin.")] = "linear",
    pairs: Annotated[int, typer.Option(help="Number of pairs of images.", min=1, max=500)] = 8,
    steps: Annotated[int, typer.Option(help="Images on the way, both ends included.", min=2, max=500)] = 9,
    out: Picture = Path("interpolations.png"),
) -> None:
    """Draw ways through a trained model's latent space, from one held-out image to another."""
    from aevae_fast.training.families import draw_interpolations
    from aevae_fast.training.pictures import save_figure

    from .trained import images_for, load_image_model

    trained = load_image_model(model)
    if not hasattr(trained, "interpolate"):
        raise ValueError(
            f"interpolate: expected an autoencoder or a VAE, got a {type(trained).__name__}: there is nothing between "
            "two of its codes; train one with: aevae-fast train vae"
        )
    held_out = images_for(trained, model, data).held_out
    save_figure(draw_interpolations(trained, held_out, pairs=pairs, steps=steps, mode=mode), out)
    print(f"Look at {out}")
