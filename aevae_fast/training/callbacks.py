"""What happens beside the optimisation steps: measuring, remembering, saving, stopping when asked."""

import math
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from aevae_fast.data import ImageDataset
from aevae_fast.models.files import replacing

from .evaluation import evaluate
from .module import LOG_EVERY, TrainingModule


class TrainingDiverged(ArithmeticError):
    """The loss is no longer a finite number."""


class History(Callback):
    """Remembers the values of training and of held-out images, and the time spent; survives a resume.

    `train` and `evaluated` are columns of numbers, `step` among them: what the model's output logs, and what `evaluate`
    measures.

    Args:
        held_out: images to measure on.
        every: steps between two measurements on them; the last step always has one.

    Raises:
        TrainingDiverged: during training, when the loss or what the model makes of held-out images is not finite.

    Comes after `StopOnSignal` and before `LastCheckpoint`: what is saved has a finite loss.
    """

    def __init__(self, held_out: ImageDataset, every: int) -> None:
        self.held_out, self.every = held_out, every
        self.train: dict[str, list[float]] = {"step": []}
        self.evaluated: dict[str, list[float]] = {"step": []}
        self.seconds = 0.0
        self._started = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started = time.monotonic() - self.seconds

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        logged = step % LOG_EVERY == 0
        measured = step % self.every == 0 or step == trainer.max_steps
        if logged or measured or trainer.should_stop:  # also ahead of every save
            self._check_loss(float(outputs["loss"]), step)
        if logged:
            self._remember_training(trainer, step)
        if measured:
            self._measure_held_out(trainer, pl_module, step)
        self.seconds = time.monotonic() - self._started

    def _check_loss(self, loss: float, step: int) -> None:
        if not math.isfinite(loss):
            raise TrainingDiverged(f"the loss became {loss} at step {step}; a smaller learning rate often helps")

    def _remember_training(self, trainer: Trainer, step: int) -> None:
        found = {name.partition("/"): float(value) for name, value in trainer.callback_metrics.items()}
        _append(self.train, {name: value for (part, _, name), value in found.items() if part == "train"}, step)

    def _measure_held_out(self, trainer: Trainer, pl_module: LightningModule, step: int) -> None:
        assert isinstance(pl_module, TrainingModule)
        try:
            evaluation = evaluate(pl_module.model, self.held_out)
        except ArithmeticError as error:  # the step after a finite loss may ruin the weights
            raise TrainingDiverged(f"{error} after step {step}; a smaller learning rate often helps") from error
        values = {name: float(value) for name, value in evaluation.as_dict().items() if name != evaluation.noun}
        if trainer.logger:
            trainer.logger.log_metrics({f"held_out/{name}": value for name, value in values.items()}, step)
        _append(self.evaluated, values, step)

    def state_dict(self) -> dict[str, Any]:
        return {"train": self.train, "evaluated": self.evaluated, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.train, self.evaluated = state_dict["train"], state_dict["evaluated"]
        self.seconds = state_dict["seconds"]


def _append(history: dict[str, list[float]], values: dict[str, float], step: int) -> None:
    for name, value in (values | {"step": float(step)}).items():
        history.setdefault(name, []).append(value)


class StopOnSignal(Callback):
    """Ends training after the running step on Ctrl-C or SIGTERM; a second signal acts at once.

    Attributes:
        received: the signal that came, or None.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():  # Python takes handlers nowhere else
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._receive)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        trainer.should_stop = trainer.should_stop or self.received is not None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()


class LastCheckpoint(Callback):
    """Keeps the state of the run in one file, replaced as a whole: a crash leaves the old file or the new one.

    Beside what Lightning saves it holds the state of torch's random generators. Must come after the callbacks whose
    state it saves.

    Args:
        file: the checkpoint.
        every: steps between two saves; the last step, and the one at which training is told to stop, are saved too.
    """

    def __init__(self, file: Path, every: int) -> None:
        self.file, self.every = file, every
        self._random_state: dict[str, Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._random_state is not None:
            torch.set_rng_state(self._random_state["cpu"])
            if torch.cuda.is_available() and self._random_state["cuda"]:
                torch.cuda.set_rng_state_all(self._random_state["cuda"])
            self._random_state = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step % self.every == 0 or step == trainer.max_steps or trainer.should_stop:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.file) as (file,):
                trainer.save_checkpoint(file)

    def state_dict(self) -> dict[str, Any]:
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {"cpu": torch.get_rng_state(), "cuda": cuda}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._random_state = state_dict
