"""Runs: a folder with settings, state, logs, pictures, metrics and the trained model."""

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from aevae_fast.data import ImageDataset, ImageSplits, evaluation_batches, spread
from aevae_fast.models import VQVAE
from aevae_fast.models.files import replacing

from .checkpoint import checkpoint_file
from .fit import FitResult, fit
from .report import Report, write_report

SETTINGS_FILE = "settings.json"


@dataclass(frozen=True)
class VQVAESettings:
    """Everything that decides a run of a VQ-VAE; plain values, kept in `settings.json`.

    Attributes:
        data: `mnist`, `digits`, `photos`, or the path of a folder of images.
        image_size: side of the images in pixels; None takes the source's own.
        steps: optimizer steps.
        batch_size: images a step.
        learning_rate: Adam's.
        codebook_size: number of codes.
        codebook_dim: width of a code.
        channels: width of encoder and decoder.
        downsampling_factor: image side over code-grid side.
        commitment_weight: weight of the commitment term.
        decay: decay of the codebook's moving averages.
        seed: decides initial weights, order of images and random numbers.
        device: auto, cpu, cuda or mps.
        precision: 32-true, bf16-mixed or 16-mixed.
        workers: processes that load images.
    """

    data: str = "mnist"
    image_size: int | None = None
    steps: int = 2000
    batch_size: int = 64
    learning_rate: float = 1e-3
    codebook_size: int = 512
    codebook_dim: int = 64
    channels: int = 64
    downsampling_factor: int = 4
    commitment_weight: float = 0.25
    decay: float = 0.99
    seed: int = 0
    device: str = "auto"
    precision: str = "32-true"
    workers: int = 0

    def save(self, out: Path) -> None:
        """Write to `settings.json` in `out`."""
        out.mkdir(parents=True, exist_ok=True)
        with replacing(out / SETTINGS_FILE) as (file,):
            file.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, out: Path) -> "VQVAESettings":
        """Read `settings.json` in `out`.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it holds something else.
        """
        file = out / SETTINGS_FILE
        if not file.is_file():
            raise FileNotFoundError(f"resume: expected the folder of a run, but {file} is not there")
        try:
            return cls(**json.loads(file.read_bytes()))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{file}: expected the settings of a VQ-VAE run, got something else ({error})") from error


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


def build_vqvae(settings: VQVAESettings, images: ImageSplits) -> VQVAE:
    """The model that `settings` describe, for `images`; weights drawn from `settings.seed`.

    Raises:
        ValueError: a setting is out of range or does not fit the images.
    """
    channels, height, width = images.image_shape
    torch.manual_seed(settings.seed)
    return VQVAE(
        channels,
        (height, width),
        channels=settings.channels,
        downsampling_factor=settings.downsampling_factor,
        codebook_size=settings.codebook_size,
        codebook_dim=settings.codebook_dim,
        commitment_weight=settings.commitment_weight,
        decay=settings.decay,
        data_variance=data_variance(images.train),
        quantizer_options={"kmeans_init": True},
    )


def data_variance(dataset: ImageDataset, at_most: int = 1000) -> float:
    """Variance of all values of up to `at_most` images spread evenly over `dataset`, at least 1e-4."""
    sample = torch.cat([batch.flatten() for batch in evaluation_batches(spread(dataset, at_most), 256)])
    return max(1e-4, float(sample.double().var(unbiased=False)))


def train_vqvae(
    settings: VQVAESettings,
    images: ImageSplits,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> tuple[FitResult, Report | None]:
    """Train a VQ-VAE in folder `out`, then measure it, draw pictures and export it.

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
        FileNotFoundError: `resume` without a state in `out`.
        TrainingDiverged: the loss became NaN or infinite.
    """
    out = Path(out)

    def prepare() -> None:
        if not resume:
            prepare_out(out, overwrite)
        settings.save(out)

    model = build_vqvae(settings, images)
    result = fit(
        model,
        images,
        out,
        steps=settings.steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
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
    return result, write_report(model, images, out, result, dataclasses.asdict(settings))
