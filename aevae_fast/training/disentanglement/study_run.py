"""Does β > 1 disentangle, and what does it cost? VAEs, β-VAEs and β-TCVAEs on sprites, several seeds of each."""

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from aevae_fast.data import ImageSplits, TrainingBatches
from aevae_fast.metrics.disentanglement import (
    beta_vae_score,
    dci,
    mutual_information_gap,
    mutual_information_gap_posterior,
)
from aevae_fast.metrics.disentanglement.learners import booster_of
from aevae_fast.models.files import replacing

from ..evaluation import evaluate
from ..fit import FitResult, check_options, fit
from ..folders import make_room
from ..pictures import save_figure
from ..report import METRICS_FILE, device_name, versions
from ..settings import FAMILY_KEY, SETTINGS_FILE, read_settings, save_settings
from .contenders import Contender, StudySettings, contenders, study_images
from .measure import codes_of, factors_of
from .study_page import write_page
from .study_picture import draw_study

PAGE_FILE, PICTURE_FILE, RUNS_FOLDER = "disentanglement_study.md", "disentanglement_study.png", "runs"
_ACTIVE = 0.01  # variance of a latent element's posterior mean from which it is in use (Burda et al., 2016)


@dataclass(frozen=True)
class Study:
    """What `study` returns.

    Attributes:
        out: its folder.
        metrics: what `metrics.json` holds.
    """

    out: Path
    metrics: dict[str, Any]


class StudyInterrupted(Exception):
    """A signal ended the training of a model; those before it are kept.

    Attributes:
        result: of its training; `interrupted_by` is the signal.
    """

    def __init__(self, result: FitResult) -> None:
        super().__init__("stopped in training")
        self.result = result


def study(
    settings: StudySettings,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> Study:
    """Train every contender with every seed, measure them, and write what came of it.

    Folder `out` gets `disentanglement_study.md`, its picture, `metrics.json`, and what was measured of each model.

    Args:
        settings: what to train; kept in `out`.
        out: a folder that is new, empty, or holds a study that `overwrite` gives up or `resume` goes on with.
        resume: keep the models in `out` that are measured, train the others; `seeds` and the βs may differ.
        overwrite: replace the study that is in `out`.
        console: where progress is shown; None shows nothing.

    Raises:
        ValueError, TypeError: a setting is out of range or `out` is taken; what is in `out` is as it was then.
        StudyInterrupted: a signal ended training.
        TrainingDiverged: a loss became NaN or infinite.
    """
    out, show, images = Path(out), console or Console(quiet=True), study_images(settings)
    chosen = contenders(settings)
    check_options(settings.steps, settings.learning_rate, settings.device, "32-true")
    TrainingBatches(images.train, settings.batch_size)
    booster_of(settings.booster, 0)
    for one in chosen:
        one.build(settings, images, 0)
    if resume:
        _check_same(settings, load_study_settings(out))
    else:
        make_room(out, StudySettings.family, "study", overwrite)
    save_settings(settings, settings.family, out)
    models: dict[str, Any] = {}
    for one in chosen:
        models[one.key] = {"title": one.title, "kind": one.kind, "beta": one.beta, "runs": []}
        for seed in range(settings.seeds):
            found = _found(one, seed, settings, images, out)
            models[one.key]["runs"].append(found)
            show.print(
                f"{one.title}, seed {seed}: MIG {found['mig']:.3f}, -log p(x | z) {found['reconstruction_loss']:.2f} "
                f"nats, {found['seconds']:.0f} s",
                highlight=False,
            )
    metrics = {
        "device": models[chosen[0].key]["runs"][0]["device"],
        "versions": versions(),
        "settings": dataclasses.asdict(settings),
        "factors": dict(zip(images.train.factor_names, _sizes(images), strict=True)),  # type: ignore[attr-defined]
        "images": {"train": len(images.train), "held_out": len(images.held_out)},
        "models": models,
    }
    save_figure(draw_study(metrics), out / PICTURE_FILE, dpi=110)
    (out / PAGE_FILE).write_text(write_page(metrics, PICTURE_FILE), encoding="utf-8")
    (out / METRICS_FILE).write_text(json.dumps(metrics, indent=2) + "\n")
    return Study(out, metrics)


def load_study_settings(out: Path) -> StudySettings:
    """The settings of the study in `out`.

    Raises:
        FileNotFoundError: `out` holds none.
        ValueError: it holds something else.
    """
    content = read_settings(out)
    if content.pop(FAMILY_KEY, None) != StudySettings.family:
        raise ValueError(f"{out}: expected a study of disentanglement, got something else")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
    try:
        return StudySettings(**values)  # type: ignore[arg-type]
    except TypeError as error:
        raise ValueError(f"{out / SETTINGS_FILE}: expected the settings of a study ({error})") from error


def _check_same(settings: StudySettings, begun: StudySettings) -> None:
    free = {"seeds": begun.seeds, "betas": begun.betas, "tc_betas": begun.tc_betas}
    if dataclasses.replace(settings, **free) != begun:  # type: ignore[arg-type]
        raise ValueError(f"settings: expected those that the study was begun with, {begun}, got {settings}")


def _sizes(images: ImageSplits) -> list[int]:
    factors, _ = factors_of(images.train, images.held_out)
    return [int(column.unique().numel()) for column in factors.unbind(1)]


def _found(one: Contender, seed: int, settings: StudySettings, images: ImageSplits, out: Path) -> dict[str, Any]:
    """What was measured of a model, trained now unless that was done before."""
    folder = out / RUNS_FOLDER / f"{one.key}-{seed}"
    file = folder / METRICS_FILE
    if not file.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        model = one.build(settings, images, seed)
        result = fit(
            model,
            images,
            folder,
            steps=settings.steps,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            seed=seed,
            device=settings.device,
        )
        if result.interrupted_by and result.step < settings.steps:
            raise StudyInterrupted(result)
        found = {
            "seed": seed,
            "seconds": round(result.history.seconds, 2),
            "device": device_name(result.device),
            **measure(model, images, settings.booster),
        }
        with replacing(file) as (new,):
            new.write_text(json.dumps(found, indent=2) + "\n")
    return json.loads(file.read_bytes())


def measure(model: Any, images: ImageSplits, booster: str) -> dict[str, Any]:
    """What the study says of a trained model: likelihoods of the held-out images, the rest over all images."""
    held_out = evaluate(model, images.held_out).as_dict()
    factors, _ = factors_of(images.train, images.held_out)
    codes, logvars = codes_of(model, images.train, images.held_out)
    assert logvars is not None
    gap = mutual_information_gap(codes, factors)
    importance = dci(codes, factors, booster=booster)
    return {
        "reconstruction_loss": held_out["reconstruction_loss"],
        "kl": held_out["kl"],
        "elbo": held_out["elbo"],
        "active": int((codes.double().var(0) > _ACTIVE).sum()),
        "mig": gap.score,
        "gaps": list(gap.gaps),
        "linear": linear_readout(codes, factors),
        "mig_posterior": mutual_information_gap_posterior(codes, logvars, factors).score,
        "beta_vae": beta_vae_score(codes, factors).score,
        "disentanglement": importance.disentanglement,
        "completeness": importance.completeness,
        "informativeness": importance.informativeness,
    }


def linear_readout(codes: Tensor, factors: Tensor) -> list[float]:
    """R² of each factor as a linear function of all codes: near 1 too where the codes are a rotation of the factors."""
    design = torch.cat([codes.double().cpu(), torch.ones(len(codes), 1, dtype=torch.float64)], 1)
    target = factors.double()
    left = target - design @ torch.linalg.lstsq(design, target, driver="gelsd").solution
    return (1 - left.square().sum(0) / (target - target.mean(0)).square().sum(0)).tolist()
