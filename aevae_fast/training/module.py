"""A model as Lightning sees it."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from aevae_fast.metrics import code_counts, perplexity

LOG_EVERY = 10  # steps between two looks at the values of training; each look waits for the device
SCHEDULES = ("constant", "cosine")
_WARMUP = 0.02  # share of the steps over which the cosine schedule rises


class TrainingModule(LightningModule):
    """Wraps an image model for training with Adam.

    Args:
        model: `model(images)` returns a named tuple with a scalar `loss`; every scalar field is logged, and the batch's
            perplexity where there is a field `indices` (then `model.codebook_size` is K, or `model.codebook_sizes` has
            that of each stage: the mean of their perplexities). Where the model has `set_step`, it is told the number
            of steps made before each one.
        learning_rate: Adam's learning rate.
        schedule: "constant", or "cosine": it rises over the first steps, then falls to 0 at the last, along a cosine.
        steps: optimizer steps in all, for the schedule.
    """

    def __init__(self, model: nn.Module, learning_rate: float, schedule: str = "constant", steps: int = 1) -> None:
        super().__init__()
        self.model = model
        self.learning_rate, self.schedule, self.steps = learning_rate, schedule, steps

    def on_train_batch_start(self, batch: Tensor, batch_index: int) -> None:
        if self.schedule == "cosine":
            progress = self.global_step / self.steps
            share = min(1.0, (progress + 1 / self.steps) / _WARMUP) * (1 + math.cos(math.pi * min(1.0, progress))) / 2
            for group in self.optimizers().param_groups:  # type: ignore[union-attr]
                group["lr"] = share * self.learning_rate

    def training_step(self, images: Tensor, batch_index: int) -> Tensor:
        if hasattr(self.model, "set_step"):
            self.model.set_step(self.global_step)  # type: ignore[operator]
        output = self.model(images)
        if (self.global_step + 1) % LOG_EVERY == 0:
            self._log_fields(output)
        return output.loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model.parameters(), lr=self.learning_rate)

    def _log_fields(self, output: Any) -> None:
        for name, value in output._asdict().items():
            if value.ndim == 0:
                self.log(f"train/{name}", value.detach(), prog_bar=name in ("loss", "kl"), logger=True)
        if "indices" in output._fields:
            self.log("train/perplexity", self._perplexity(output.indices), prog_bar=True, logger=True)

    def _perplexity(self, indices: Tensor) -> float:
        """Of the batch: the mean of the stages that it used."""
        if not hasattr(self.model, "codebook_sizes"):
            return perplexity(code_counts(indices, int(self.model.codebook_size)))  # type: ignore[arg-type]
        sizes: Sequence[int] = self.model.codebook_sizes  # type: ignore[assignment]
        stages = indices.unbind(-1) if len(sizes) > 1 else [indices]
        counts = [code_counts(*stage) for stage in zip(stages, sizes, strict=True)]
        found = [perplexity(count) for count in counts if count.any()]
        return sum(found) / max(1, len(found))
