"""Progress on the screen, and silence from everything else."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from rich.console import Console

from .module import LOG_EVERY


class StepBar(RichProgressBar):
    """Lightning's rich bar over the steps of the whole run; looks at the metrics every few steps only."""

    @property
    def total_train_batches(self) -> int:
        return self.trainer.max_steps

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step % LOG_EVERY == 0 or trainer.global_step == trainer.max_steps:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, trainer.global_step - 1)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        values = super().get_metrics(trainer, pl_module)
        return {name.removeprefix("train/"): value for name, value in values.items() if name != "v_num"}

    def _get_train_description(self, current_epoch: int) -> str:
        return "Training"


class StepLines(Callback):
    """A line every tenth of the run, for screens that are no terminal (a log file, a pipe)."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step, total = trainer.global_step, trainer.max_steps
        if step % max(1, total // 10) == 0 or step == total:
            metrics = trainer.progress_bar_metrics.items()
            shown = "".join(f"  {name.removeprefix('train/')} {float(value):.4g}" for name, value in metrics)
            self.console.print(f"step {step} of {total}{shown}", highlight=False)


def progress_callback(console: Console) -> Callback:
    """A bar on a terminal, lines elsewhere."""
    return StepBar(refresh_rate=10, leave=True) if console.is_terminal else StepLines(console)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Lightning's notes and warnings about its own settings stay off the screen; errors do not."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric", "lightning")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
