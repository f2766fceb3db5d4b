"""Carrying out `aevae-fast compare`."""

import dataclasses
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from aevae_fast.data import load_images
from aevae_fast.training.compare import (
    CompareSettings,
    Comparison,
    ComparisonInterrupted,
    compare,
    load_compare_settings,
)
from aevae_fast.training.compare.tables import model_table, sample_table

from .running import refuse_changes, say_interrupted

_FREE_ON_RESUME = {"resume"}


def run_compare(context: typer.Context) -> None:
    """Compare as the options in `context` say, and print the result.

    Raises:
        typer.Exit: a signal ended training; status 128 + the signal's number.
        typer.BadParameter: an option that a resumed comparison does not take.
        ValueError, TypeError, FileNotFoundError, TrainingDiverged: as `compare`.
    """
    options = context.params
    resume = options["resume"]
    if resume:
        refuse_changes(context, _FREE_ON_RESUME)
        settings = load_compare_settings(resume)
    else:
        names = {field.name for field in dataclasses.fields(CompareSettings)}
        settings = CompareSettings(**{name: value for name, value in options.items() if name in names})
    console = Console()
    images = load_images(settings.data)
    out = resume or options["out"] or Path("runs") / f"compare-{images.name}"
    try:
        comparison = compare(
            settings, images, out, resume=bool(resume), overwrite=options["overwrite"], console=console
        )
    except ComparisonInterrupted as interrupted:
        say_interrupted(console, interrupted.result, f"aevae-fast compare --resume {out}")
    else:
        _show(console, comparison)


def _show(console: Console, comparison: Comparison) -> None:
    for title, (headings, rows) in (
        ("Samples, against held-out images", sample_table(comparison.metrics)),
        ("Models", _turned(*model_table(comparison.metrics))),
    ):
        table = Table(title=title, title_justify="left", title_style="bold")
        table.add_column(headings[0])
        for heading in headings[1:]:
            table.add_column(heading, justify="right")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for claim in comparison.claims:
        console.print(
            f"\n({claim.letter}) {claim.statement} [bold]{claim.verdict.capitalize()}.[/bold]", highlight=False
        )
        for check in claim.checks:
            console.print(f"  {'holds' if check.holds else 'does not hold'}: {check.rule}", highlight=False)
    console.print(f"\nLook at [bold]{comparison.out / 'compare.png'}[/bold]", highlight=False, soft_wrap=True)
    console.print(f"  {comparison.out / 'compare.md'}  [dim]verdicts, numbers and rules[/dim]", soft_wrap=True)


def _turned(headings: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Rows as columns: many measures of few models fit a screen only that way."""
    whole = [list(column) for column in zip(headings, *rows, strict=True)]
    return ["", *whole[0][1:]], whole[1:]
