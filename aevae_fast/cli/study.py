"""`aevae-fast study`: experiments with several models and seeds."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from .options import Device, Overwrite, flowing

study_app = typer.Typer(help="Experiments with several models and seeds.", no_args_is_help=True)

_MODEL, _RUN = "Models", "Run"


@study_app.callback()
def _study() -> None:
    """Experiments with several models and seeds."""


def disentanglement(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for what comes of it.", rich_help_panel=_RUN)] = Path("runs")
    / "study-disentanglement",
    seeds: Annotated[int, typer.Option(help="Models of each kind.", min=1, rich_help_panel=_RUN)] = 3,
    steps: Annotated[int, typer.Option(help="Optimizer steps of each model.", min=1, rich_help_panel=_RUN)] = 2500,
    beta: Annotated[
        list[float], typer.Option(help="Of a β-VAE; may be given several times.", rich_help_panel=_MODEL)
    ] = [2.0, 4.0, 8.0],  # noqa: B006
    tc_beta: Annotated[
        list[float], typer.Option(help="Of a β-TCVAE; may be given several times.", rich_help_panel=_MODEL)
    ] = [3.0, 6.0, 12.0],  # noqa: B006
    booster: Annotated[
        str, typer.Option(help="Of DCI: random_forest or gradient_boosting (slower).", rich_help_panel=_RUN)
    ] = "random_forest",
    device: Device = "auto",
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the study in this folder, as it was begun.", rich_help_panel=_RUN)
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Does β > 1 disentangle, and what does it cost? VAE, β-VAEs and β-TCVAEs on sprites, several seeds of each.

    Writes disentanglement_study.md (the answer, the numbers, rule by rule), its picture, and metrics.json.
    """
    from rich.console import Console

    from aevae_fast.training.disentanglement import StudyInterrupted, StudySettings, load_study_settings, study

    from .running import refuse_changes, say_interrupted

    if resume:
        refuse_changes(context, {"resume"})
        settings = load_study_settings(resume)
    else:
        settings = dataclasses.replace(
            StudySettings(),
            seeds=seeds,
            steps=steps,
            betas=tuple(beta),
            tc_betas=tuple(tc_beta),
            booster=booster,
            device=device,
        )
    console, folder = Console(), resume or out
    try:
        done = study(settings, folder, resume=bool(resume), overwrite=overwrite, console=console)
    except StudyInterrupted as interrupted:
        say_interrupted(console, interrupted.result, f"aevae-fast study disentanglement --resume {folder}")
    console.print(f"\nLook at [bold]{done.out / 'disentanglement_study.png'}[/bold]", highlight=False, soft_wrap=True)
    console.print(f"  {done.out / 'disentanglement_study.md'}  [dim]the answer, and the numbers[/dim]", soft_wrap=True)


study_app.command(help=flowing(disentanglement.__doc__))(disentanglement)
