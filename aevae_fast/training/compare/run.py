"""A comparison from beginning to end: the folder it leaves."""

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from aevae_fast.data import ImageSplits
from aevae_fast.models import load_model

from ..checkpoint import checkpoint_file
from ..fit import FitResult
from ..folders import make_room
from ..pictures import save_figure
from ..report import METRICS_FILE, MODEL_FOLDER, versions
from ..runs import check_run, train_run
from ..settings import FAMILY_KEY, SETTINGS_FILE, read_settings
from .claims import Claim, judge
from .contenders import AUTOENCODER, CompareSettings, Contender, contenders
from .measures import STEPS, measure_model
from .page import write_page
from .picture import Exhibit, draw_page, exhibit
from .yardstick import SETS, check_data, make_yardstick

MODELS_FOLDER = "models"
PAGE_FILE, PICTURE_FILE = "compare.md", "compare.png"


@dataclass(frozen=True)
class Comparison:
    """What came of a comparison.

    Attributes:
        out: its folder.
        metrics: what `metrics.json` holds.
        claims: judged by the numbers.
    """

    out: Path
    metrics: dict[str, Any]
    claims: list[Claim]


class ComparisonInterrupted(Exception):
    """A signal ended the training of a model; its state is saved.

    Attributes:
        contender: the model.
        result: of its training; `interrupted_by` is the signal.
    """

    def __init__(self, contender: Contender, result: FitResult) -> None:
        super().__init__(f"stopped in the training of {contender.title}")
        self.contender, self.result = contender, result


def compare(
    settings: CompareSettings,
    images: ImageSplits,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> Comparison:
    """Train an autoencoder, a noisy one, a VAE and a β-VAE alike, measure them, and judge what is claimed of them.

    Folder `out` gets `compare.md`, `compare.png`, `metrics.json`, and under `models/` a run of each model.

    Args:
        settings: what to train; kept in `out`.
        images: what to train on and to measure on, with labels.
        out: a folder that is new, empty, or holds a comparison that `overwrite` gives up or `resume` goes on with.
        resume: keep the models in `out` that are finished, go on with the one that is not.
        overwrite: replace the comparison that is in `out`.
        console: where progress is shown; None shows nothing.

    Raises:
        ValueError, TypeError: a setting is out of range or does not fit the images or this machine, the images have no
            labels or are too few, or `out` is taken, or holds a comparison by other settings than the one to resume;
            what is in `out` is as it was then.
        FileNotFoundError: `resume` without a comparison in `out`.
        ComparisonInterrupted: a signal ended training.
        TrainingDiverged: a loss became NaN or infinite.
    """
    out, show = Path(out), console or Console(quiet=True)
    chosen = contenders(settings)
    check_data(images)
    for contender in chosen:
        check_run(contender.settings, images)
    if resume:
        _check_same(settings, load_compare_settings(out), out)
    else:
        make_room(out, CompareSettings.family, "comparison", overwrite)
        settings.save(out)
    trained = {}
    for number, contender in enumerate(chosen, 1):
        folder = out / MODELS_FOLDER / contender.key
        kept = ", trained before" if (folder / METRICS_FILE).is_file() else ""
        show.print(f"\n[bold]{number} of {len(chosen)}: {contender.title}[/bold]{kept}", highlight=False)
        trained[contender.key] = _trained(contender, images, folder, console)
    show.print("\n[bold]Measuring[/bold]", highlight=False)
    metrics, exhibits = _measured(settings, chosen, images, trained, out)
    claims = judge(metrics)
    metrics["claims"] = [claim.as_dict() for claim in claims]
    save_figure(draw_page(exhibits, metrics), out / PICTURE_FILE, dpi=110)
    (out / PAGE_FILE).write_text(write_page(metrics, claims, PICTURE_FILE), encoding="utf-8")
    (out / METRICS_FILE).write_text(json.dumps(metrics, indent=2) + "\n")
    return Comparison(out, metrics, claims)


def load_compare_settings(out: Path) -> CompareSettings:
    """The settings of the comparison in `out`.

    Raises:
        FileNotFoundError: `out` holds none.
        ValueError: it holds something else.
    """
    content = read_settings(out)
    name = content.pop(FAMILY_KEY, None)
    if name != CompareSettings.family:
        raise ValueError(f"{out}: expected a comparison, got a run of {name!r}")
    try:
        return CompareSettings(**content)  # type: ignore[arg-type]
    except TypeError as error:
        raise ValueError(f"{out / SETTINGS_FILE}: expected the settings of a comparison ({error})") from error


def _check_same(settings: CompareSettings, begun: CompareSettings, out: Path) -> None:
    given, kept = dataclasses.asdict(settings), dataclasses.asdict(begun)
    differ = [f"{name} {kept[name]!r}, not {value!r}" for name, value in given.items() if value != kept[name]]
    if differ:
        raise ValueError(
            f"resume: expected the settings of the comparison in {out}; it was begun with {', '.join(differ)}"
        )


def _trained(contender: Contender, images: ImageSplits, folder: Path, console: Console | None) -> Any:
    """The trained model of `contender` in `folder`, as far as need be trained now."""
    if not (folder / METRICS_FILE).is_file():
        started = checkpoint_file(folder).is_file()
        result, report = train_run(contender.settings, images, folder, resume=started, console=console)
        if report is None:
            raise ComparisonInterrupted(contender, result)
    return load_model(folder / MODEL_FOLDER)


def _measured(
    settings: CompareSettings, chosen: list[Contender], images: ImageSplits, trained: dict[str, Any], out: Path
) -> tuple[dict[str, Any], list[Exhibit]]:
    """The metrics but for the claims, and what the page shows; on the CPU, so that all of it is the same everywhere."""
    started = time.monotonic()
    seed = settings.seed
    yardstick = make_yardstick(images, seed, torch.device("cpu"))
    runs = {one.key: json.loads((out / MODELS_FOLDER / one.key / METRICS_FILE).read_bytes()) for one in chosen}
    models = {
        one.key: {"title": one.title, "seconds": runs[one.key]["seconds"]}
        | measure_model(trained[one.key], images, yardstick, seed)
        for one in chosen
    }
    metrics = {
        "data": images.name,
        "device": runs[AUTOENCODER]["device"],
        "versions": versions(),
        "settings": dataclasses.asdict(settings),
        "interpolation_steps": STEPS,
        "yardsticks": {
            "sets": SETS,
            "set_size": len(yardstick.held_out),
            "classifier_accuracy": yardstick.accuracy,
            "real": yardstick.quality(yardstick.real()),
            "scrambled": yardstick.quality(yardstick.no_likeness()),
        },
        "models": models,
        "seconds": {
            "training": round(sum(run["seconds"] for run in runs.values()), 1),
            "measuring": round(time.monotonic() - started, 1),
        },
    }
    return metrics, [exhibit(trained[one.key], one.key, one.title, images.held_out, seed) for one in chosen]
