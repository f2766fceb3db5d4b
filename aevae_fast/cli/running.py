"""Carrying out a training command: settings, data, training, and what came of it."""

import dataclasses
import math
import signal
from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console
from rich.table import Table

from aevae_fast.data import ImageSplits
from aevae_fast.training import Evaluation, FitResult, Report, RunSettings, load_settings, train_run
from aevae_fast.training.families import FAMILIES

from .options import MOST_STEPS

_FREE_ON_RESUME = {"resume", "steps", "epochs", "device", "workers"}


def run_training(context: typer.Context, family: str) -> None:
    """Train as the options in `context` say and print the result.

    Raises:
        typer.Exit: a signal ended training; status 128 + the signal's number.
        typer.BadParameter: an option that a resumed run does not take.
        ValueError, TypeError, FileNotFoundError, TrainingDiverged: as `train_run`.
    """
    options = context.params
    settings = _resumed(context, family) if options["resume"] else _new(context, family)
    console = Console()
    images = FAMILIES[family].load(settings)
    settings = dataclasses.replace(settings, steps=_steps(settings, images, options["steps"], options["epochs"]))
    out = options["resume"] or options["out"] or Path("runs") / f"{context.info_name}-{images.name}"
    console.print(
        f"{FAMILIES[family].describe(settings)} on {images.name}: {len(images.train)} training and "
        f"{len(images.held_out)} held-out {images.items}, {settings.steps} steps",
        highlight=False,
    )
    result, report = train_run(
        settings, images, out, resume=bool(options["resume"]), overwrite=options["overwrite"], console=console
    )
    if report is None:
        say_interrupted(console, result, f"aevae-fast train {context.info_name} --resume {out}")
    else:
        _finished(console, report, FAMILIES[family].remark(report.metrics))


def _new(context: typer.Context, family: str) -> RunSettings:
    kind = FAMILIES[family].settings
    names = {field.name for field in dataclasses.fields(kind)} - {"steps"}
    return kind(**{name: value for name, value in context.params.items() if name in names})


def _resumed(context: typer.Context, family: str) -> RunSettings:
    refuse_changes(context, _FREE_ON_RESUME)
    folder = context.params["resume"]
    settings = load_settings(folder)
    if settings.family != family:
        raise ValueError(
            f"resume: expected a run of `train {context.info_name}`, but {folder} holds one of {settings.family}; "
            f"go on with: aevae-fast train {settings.family} --resume {folder}"
        )
    free = {name: context.params[name] for name in ("device", "workers") if _given(context, name)}
    return dataclasses.replace(settings, **free)


def refuse_changes(context: typer.Context, free: set[str]) -> None:
    """Raise typer.BadParameter if an option was given that is not among those `free` to differ on resume."""
    changed = [name for name in context.params if name not in free and _given(context, name)]
    if changed:
        flags = {parameter.name: parameter.opts[0] for parameter in context.command.params}
        options = ", ".join(flags[name] for name in changed)
        raise typer.BadParameter(f"a resumed run keeps its settings; leave out {options}", param_hint="--resume")


def _given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _steps(settings: RunSettings, images: ImageSplits, steps: int | None, epochs: float | None) -> int:
    if steps is not None and epochs is not None:
        raise ValueError("steps, epochs: expected one of the two, got both")
    if epochs is None:
        return settings.steps if steps is None else steps
    if not 0 < epochs < math.inf:
        raise ValueError(f"epochs: expected a positive number, got {epochs}")
    a_pass = len(images.train) / settings.batch_size
    if epochs * a_pass > MOST_STEPS:
        raise ValueError(f"epochs: expected at most {MOST_STEPS / a_pass:.0f} (--steps {MOST_STEPS}), got {epochs}")
    return max(1, round(epochs * a_pass))


def say_interrupted(console: Console, result: FitResult, command: str) -> NoReturn:
    """Say that a signal ended training, and the command that goes on; raises typer.Exit with the signal's status."""
    assert result.interrupted_by is not None
    name = "Ctrl-C" if result.interrupted_by == signal.SIGINT else result.interrupted_by.name
    console.print(f"\nStopped by {name} after step {result.step}; everything up to here is saved. Go on with:")
    console.print(f"  {command}", style="bold", highlight=False, soft_wrap=True)
    raise typer.Exit(128 + result.interrupted_by)


def _finished(console: Console, report: Report, remark: str | None) -> None:
    metrics = report.metrics
    title = f"{metrics['model']} on {metrics['data']}, {metrics['steps']} steps in {metrics['seconds']:.0f} s"
    console.print()
    console.print(result_table(title, {"training": report.train, "held out": report.held_out}))
    if remark:
        console.print(remark, highlight=False)
    console.print(f"\nLook at [bold]{report.out / 'pictures'}[/bold]", highlight=False, soft_wrap=True)
    for name, what in (
        ("metrics.json", "the numbers"),
        ("model", "the trained model, for aevae_fast.models.load_model"),
        ("logs", f"curves: tensorboard --logdir {report.out / 'logs'}"),
    ):
        console.print(f"  {report.out / name}  [dim]{what}[/dim]", highlight=False, soft_wrap=True)


def result_table(title: str, columns: dict[str, Evaluation]) -> Table:
    """A table of evaluations side by side; a row that a column has nothing for stays empty there."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    for name, evaluation in columns.items():
        table.add_column(f"{name}\n{evaluation.images} {evaluation.noun}", justify="right")
    rows = [evaluation.rows() for evaluation in columns.values()]
    for label in dict.fromkeys(label for column in rows for label in column):
        table.add_row(label, *(column.get(label, "") for column in rows))
    return table
