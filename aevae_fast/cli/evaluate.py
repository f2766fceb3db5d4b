"""`aevae-fast evaluate` and `aevae-fast reconstruct`: what a trained model makes of images."""

import math
from pathlib import Path
from typing import Annotated

import typer

from .options import Picture, Trained, TrainedOn


def evaluate(
    model: Trained,
    data: TrainedOn = None,
    samples: Annotated[
        int,
        typer.Option(
            help="Of a VAE: latents an image to estimate log p(x) with; 0 leaves it out.", min=0, max=1_000_000
        ),
    ] = 100,
    disentanglement: Annotated[
        bool,
        typer.Option("--disentanglement", help="Also how each element of the latent stands for the images' factors."),
    ] = False,
    booster: Annotated[
        str, typer.Option(help="Of DCI: gradient_boosting, or random_forest (faster, other scores).")
    ] = "gradient_boosting",
    out: Annotated[Path, typer.Option(help="Folder for what --disentanglement finds.")] = Path("disentanglement"),
) -> None:
    """Measure a trained model on images.

    All: reconstruction error. VQ-VAE: codebook usage. Autoencoder: -log p(x | z). VAE: the ELBO with its parts,
    reconstruction and KL, and log p(x) of the held-out images by importance sampling. Audio codec: signal to noise by
    number of stages.

    With --disentanglement, on images whose factors are known (sprites): MIG, β-VAE metric, FactorVAE score, DCI, SAP,
    modularity and explicitness over all of them; the numbers as JSON, and as a picture what each element tells.
    """
    import torch
    from rich.console import Console

    from aevae_fast import training
    from aevae_fast.losses import bits_per_dim
    from aevae_fast.training.families import log_likelihood

    from .running import result_table
    from .trained import images_for, load_trained

    trained = load_trained(model)
    images = images_for(trained, model, data)
    if disentanglement:
        from .disentangled import check, show

        check(trained, images, booster)
    columns = {"training": images.train, "held out": images.held_out}
    measured = {name: training.evaluate(trained, part) for name, part in columns.items()}
    table = result_table(f"{model} on {images.name}", measured)
    if samples and hasattr(trained, "log_likelihood"):
        estimate = log_likelihood(trained, images.held_out, samples)
        bits = bits_per_dim(torch.tensor(-estimate), math.prod(images.image_shape))
        table.add_row(f"log p(x), {samples} samples (nats)", "", f"{estimate:.2f}")
        table.add_row(f"-log p(x), {samples} samples, in bits / dim", "", f"{float(bits):.4f}")
    Console().print(table)
    if disentanglement:
        show(Console(), trained, images, booster, out)


def reconstruct(
    model: Trained,
    data: TrainedOn = None,
    out: Picture = Path("reconstructions.png"),
    count: Annotated[int, typer.Option(help="Number of held-out images.", min=1, max=1000)] = 20,
) -> None:
    """Draw held-out images beside what a trained model makes of them."""
    from aevae_fast.training.families import some_images
    from aevae_fast.training.pictures import draw_reconstructions, save_figure

    from .trained import images_for, load_image_model

    trained = load_image_model(model)
    originals = some_images(images_for(trained, model, data).held_out, count)
    title = "Held-out images, and what a model makes of them"
    save_figure(draw_reconstructions(originals, trained.reconstruct(originals), title), out)
    print(f"Look at {out}")
