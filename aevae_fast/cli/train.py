"""`aevae-fast train`: train a model on images."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

train_app = typer.Typer(help="Train a model on images.", no_args_is_help=True)

_DATA, _MODEL, _RUN = "Data", "Model", "Run"
_FREE_ON_RESUME = {"resume", "steps", "epochs", "device", "workers"}


@train_app.callback()
def _train() -> None:
    """Train a model on images."""  # with a callback, `vqvae` stays a command of its own though it is the only one


@train_app.command()
def vqvae(
    context: typer.Context,
    data: Annotated[
        str, typer.Option(help="mnist, digits, photos, or a folder of images.", rich_help_panel=_DATA)
    ] = "mnist",
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Side of the images in pixels, for photos (default 32) and folders (default 64).",
            rich_help_panel=_DATA,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for everything that comes of it; default: runs/vqvae-DATA.", rich_help_panel=_RUN),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps; default: 2000.", rich_help_panel=_RUN)] = None,
    epochs: Annotated[
        float | None, typer.Option(help="Passes over the data, instead of --steps.", rich_help_panel=_RUN)
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images a step.", min=1, rich_help_panel=_RUN)] = 64,
    lr: Annotated[float, typer.Option(help="Learning rate (Adam).", rich_help_panel=_RUN)] = 1e-3,
    codebook_size: Annotated[int, typer.Option(help="Number of codes.", rich_help_panel=_MODEL)] = 512,
    codebook_dim: Annotated[int, typer.Option(help="Width of a code.", rich_help_panel=_MODEL)] = 64,
    channels: Annotated[int, typer.Option(help="Width of encoder and decoder.", rich_help_panel=_MODEL)] = 64,
    downsampling_factor: Annotated[
        int, typer.Option(help="Image side over side of the grid of codes (2, 4, 8, ...).", rich_help_panel=_MODEL)
    ] = 4,
    commitment_weight: Annotated[
        float, typer.Option(help="Weight that ties the encoder to the codes.", rich_help_panel=_MODEL)
    ] = 0.25,
    decay: Annotated[
        float, typer.Option(help="Decay of the codebook's moving averages.", rich_help_panel=_MODEL)
    ] = 0.99,
    seed: Annotated[
        int, typer.Option(help="Decides weights, order of images, random numbers.", rich_help_panel=_RUN)
    ] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", rich_help_panel=_RUN)] = "auto",
    precision: Annotated[str, typer.Option(help="32-true, bf16-mixed or 16-mixed.", rich_help_panel=_RUN)] = "32-true",
    workers: Annotated[
        int, typer.Option(help="Processes that load images; for large folders.", rich_help_panel=_RUN)
    ] = 0,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="Go on with the run in this folder; only --steps/--epochs, --device may differ.", rich_help_panel=_RUN
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a run that is in the way.", rich_help_panel=_RUN)] = False,
) -> None:
    """Train a VQ-VAE: images become grids of codes, and images again.

    Everything lands in the output folder: metrics.json, pictures/, model/ (safetensors), logs/ (TensorBoard) and
    checkpoints/. Stop with Ctrl-C at any time and go on with --resume.
    """
    from aevae_fast.training import VQVAESettings

    from .running import run_vqvae

    if resume:
        _refuse_changes(context)
        settings = VQVAESettings.load(resume)
        settings = dataclasses.replace(
            settings,
            device=device if _given(context, "device") else settings.device,
            workers=workers if _given(context, "workers") else settings.workers,
        )
    else:
        settings = VQVAESettings(
            data=data,
            image_size=image_size,
            batch_size=batch_size,
            learning_rate=lr,
            codebook_size=codebook_size,
            codebook_dim=codebook_dim,
            channels=channels,
            downsampling_factor=downsampling_factor,
            commitment_weight=commitment_weight,
            decay=decay,
            seed=seed,
            device=device,
            precision=precision,
            workers=workers,
        )

    run_vqvae(settings, resume or out, steps=steps, epochs=epochs, resume=resume is not None, overwrite=overwrite)


def _given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _refuse_changes(context: typer.Context) -> None:
    changed = [name for name in context.params if name not in _FREE_ON_RESUME and _given(context, name)]
    if changed:
        options = ", ".join("--" + name.replace("_", "-") for name in changed)
        raise typer.BadParameter(f"a resumed run keeps its settings; leave out {options}", param_hint="--resume")
