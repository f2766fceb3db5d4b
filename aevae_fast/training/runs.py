"""Runs: a folder with settings, state, logs, pictures, metrics and the trained model."""

import shutil
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from aevae_fast.data import ImageSplits, TrainingBatches

from .checkpoint import checkpoint_file
from .families import FAMILIES
from .fit import FitResult, check_options, fit
from .report import Report, write_report
from .settings import FAMILY_KEY, SETTINGS_FILE, RunSettings, read_settings


def load_settings(out: Path) -> RunSettings:
    """The settings of the run in `out`, of whatever family.

    Raises:
        FileNotFoundError: `out` holds no run.
        ValueError: its settings are broken, or those of an unknown family.
    """
    content = read_settings(out)
    name = content.pop(FAMILY_KEY, None)
    if name not in FAMILIES:
        raise ValueError(f"{out / SETTINGS_FILE}: expected a run of {', '.join(FAMILIES)}, got {name!r}")
    try:
        return FAMILIES[str(name)].settings(**content)  # type: ignore[arg-type]
    except TypeError as error:
        raise ValueError(
            f"{out / SETTINGS_FILE}: expected the settings of a run of {name}, got something else ({error})"
        ) from error


def prepare_out(out: Path, overwrite: bool) -> None:
    """Make room for a new run in `out`. A run that saved nothing yet is in nobody's way.

    Raises:
        ValueError: `out` is a file, or holds a run and `overwrite` is not set, or holds something that is no run.
    """
    if out.is_file():
        raise ValueError(f"out: expected a folder, but {out} is a file")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / SETTINGS_FILE).is_file():
        raise ValueError(f"out: expected a new or empty folder, or one that holds a run, but {out} holds other files")
    if checkpoint_file(out).is_file() and not overwrite:
        raise ValueError(f"out: {out} already holds a run; continue it with --resume {out}, or add --overwrite")
    shutil.rmtree(out)


def build_model(settings: RunSettings, images: ImageSplits) -> Any:
    """The model that `settings` describe, for what its family's `data` gave; weights drawn from `settings.seed`.

    Raises:
        ValueError, TypeError: a setting is out of range or does not fit the images.
    """
    torch.manual_seed(settings.seed)
    return FAMILIES[settings.family].build(settings, images)


def check_run(settings: RunSettings, images: ImageSplits) -> None:
    """See that a run with these settings can begin; builds a model, and changes nothing.

    Raises:
        ValueError, TypeError: a setting is out of range or does not fit the images or this machine.
    """
    check_options(settings.steps, settings.learning_rate, settings.device, settings.precision, settings.schedule)
    TrainingBatches(images.train, settings.batch_size, settings.seed, settings.workers)
    build_model(settings, images)


def train_run(
    settings: RunSettings,
    images: ImageSplits,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> tuple[FitResult, Report | None]:
    """Train a model in folder `out`, then measure it, draw pictures and export it.

    Args:
        settings: what to train; kept in `out`.
        images: what to train on and to measure on, as `load_images(settings.data, settings.image_size)` gives them.
        out: folder of the run; without `resume` it must be new, empty or a run that `overwrite` gives up.
        resume: go on from the state in `out`.
        overwrite: replace a run that is in `out`.
        console: where progress is shown; None shows nothing.

    Returns:
        What training did, and what came of it; no report when a signal ended training early.

    Raises:
        ValueError: a setting is out of range or does not fit the images or this machine, `out` is taken, or the state
            in it is broken; what is in `out` is as it was then.
        FileNotFoundError: `resume` without a state in `out`, or a model that the run needs is not there.
        TrainingDiverged: the loss became NaN or infinite.
    """
    out = Path(out)

    def prepare() -> None:
        if not resume:
            prepare_out(out, overwrite)
        settings.save(out)

    images = FAMILIES[settings.family].data(settings, images)
    model = build_model(settings, images)
    result = fit(
        model,
        images,
        out,
        steps=settings.steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        schedule=settings.schedule,
        seed=settings.seed,
        device=settings.device,
        precision=settings.precision,
        workers=settings.workers,
        resume=resume,
        prepare=prepare,
        console=console,
    )
    if result.interrupted_by and result.step < settings.steps:
        return result, None
    return result, write_report(FAMILIES[settings.family], model, images, out, result, settings)
