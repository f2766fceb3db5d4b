"""Training a model on images with Lightning."""

import math
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from rich.console import Console
from torch import nn

from aevae_fast.data import ImageSplits, TrainingBatches

from .callbacks import History, LastCheckpoint, StopOnSignal
from .checkpoint import check_checkpoint, checkpoint_file
from .health import QuantizerHealth
from .module import SCHEDULES, TrainingModule
from .progress import progress_callback, quiet_lightning

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class FitResult:
    """What `fit` returns.

    Attributes:
        step: optimizer steps made so far, those before a resume included.
        history: values over the steps, and seconds spent.
        health: how alive the quantizers in the model were over the steps.
        interrupted_by: the signal that ended training early, or None.
        device: the device trained on.
    """

    step: int
    history: History
    health: QuantizerHealth
    interrupted_by: signal.Signals | None
    device: torch.device


def fit(
    model: nn.Module,
    images: ImageSplits,
    out: str | Path,
    *,
    steps: int,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    schedule: str = "constant",
    seed: int = 0,
    device: str = "auto",
    precision: str = "32-true",
    workers: int = 0,
    resume: bool = False,
    prepare: Callable[[], None] | None = None,
    console: Console | None = None,
) -> FitResult:
    """Train `model` up to `steps` optimizer steps; TensorBoard logs and the state of the run go to `out`.

    A run that was stopped and resumed ends with the same bits as one that was not, on the same device, where images are
    loaded in this process (`workers=0`) and, under the cosine schedule, `steps` are the same. Ctrl-C and SIGTERM end
    training after the running step, with its state saved.

    Args:
        model: `model(images)` returns a named tuple with a scalar `loss`, as `VQVAE` does; trained in place.
        images: what to train on, and what to measure on.
        out: folder of the run.
        steps: optimizer steps in all, those before a resume included.
        batch_size: images a step.
        learning_rate: Adam's learning rate.
        schedule: "constant", or "cosine": it rises over the first steps, then falls to 0 at the last.
        seed: decides the order of the images and torch's random numbers.
        device: auto, cpu, cuda or mps.
        precision: 32-true, bf16-mixed or 16-mixed.
        workers: processes that load images.
        resume: go on from the state in `out`.
        prepare: called once all of this is checked, before anything is written.
        console: where progress is shown; None shows nothing.

    Raises:
        ValueError: an argument is out of range, the device is not there, or the state in `out` is broken, of another
            model or beyond `steps`; nothing has changed then.
        FileNotFoundError: `resume` without a state in `out`.
        TrainingDiverged: the loss became NaN or infinite; the last saved state stays.
    """
    check_options(steps, learning_rate, device, precision, schedule)
    batches = TrainingBatches(images.train, batch_size, seed, workers)
    module, file = TrainingModule(model, learning_rate, schedule, steps), checkpoint_file(out)
    if resume:
        check_checkpoint(file, module, steps)
    every = max(1, steps // 20)
    history, health, stop = History(images.held_out, every), QuantizerHealth(max(1, steps // 50)), StopOnSignal()
    shown: list[Callback] = [progress_callback(console)] if console else []
    with quiet_lightning():
        trainer = Trainer(
            accelerator=device,
            devices=1,
            precision=precision,  # type: ignore[arg-type]
            max_steps=steps,
            max_epochs=-1,
            logger=TensorBoardLogger(str(out), name="logs", version=""),
            callbacks=[stop, history, health, *shown, LastCheckpoint(file, every)],
            enable_checkpointing=False,
            enable_progress_bar=console is not None and console.is_terminal,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,  # the module itself logs every few steps only
        )
        if prepare:
            prepare()
        torch.manual_seed(seed)
        trainer.fit(module.train(), batches, ckpt_path=str(file) if resume else None, weights_only=True)
    return FitResult(trainer.global_step, history, health, stop.received, trainer.strategy.root_device)


def check_options(steps: int, learning_rate: float, device: str, precision: str, schedule: str = "constant") -> None:
    """Raise ValueError naming the first option of `fit` that is out of range or not to be had on this machine."""
    if steps < 1:
        raise ValueError(f"steps: expected at least 1, got {steps}")
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate: expected a positive number, got {learning_rate}")
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule: expected one of {', '.join(SCHEDULES)}, got {schedule!r}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision: expected one of {', '.join(PRECISIONS)}, got {precision!r}")
    if device not in DEVICES:
        raise ValueError(f"device: expected one of {', '.join(DEVICES)}, got {device!r}")
    there = {"auto": True, "cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[device]:
        names = ", ".join(name for name, here in there.items() if here)
        raise ValueError(f"device: expected one that this machine has ({names}), got {device!r}")
