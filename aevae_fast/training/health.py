"""`QuantizerHealth`: a callback that watches every quantizer in a model, stage by stage."""

import math
from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from aevae_fast.metrics import StageHealth

from .layer_health import layer_health, quantizers_in

MEASURES = ("usage", "perplexity", "dead_codes", "residual_energy")

Seen = tuple[Tensor, dict[str, Tensor]]  # what went into a quantizer, and which rows of it count


class QuantizerHealth(Callback):
    """Logs usage, perplexity, dead codes and residual energy of every quantizer, for each of its stages.

    Works in any Lightning module, for each layer of `aevae_fast.quantizers` within it, compiled or not. Values go to
    the trainer's loggers as `health/NAME/stage_1/perplexity` and so on; NAME is where the layer is in the module.

    Of stages with a running count (`VectorQuantize`, alone or in a residual layer) usage, perplexity and dead codes are
    those of the running count, over the last 1 / (1 - decay) steps and all ranks: a code is dead below 3% of the mean.
    Of others they are those of the last batch on this rank, and a code is dead that does not come in it. The residual
    energy is that of the last batch: what the first q stages leave of the energy of what went in, in `eval()`, so that
    stages are there that quantize-dropout left out.

    Between two looks a step only keeps references to what went in; a look waits for the device once for each layer.

    Args:
        every: steps between two looks; the last step always has one.

    Attributes:
        history: NAME to columns `step` and each of `MEASURES`; of a measure a row a look, in it a number a stage (NaN:
            not measured).

    Raises:
        ValueError: `every` is less than 1.
    """

    def __init__(self, every: int = 100) -> None:
        if every < 1:
            raise ValueError(f"every: expected at least 1, got {every}")
        self.every = every
        self.history: dict[str, dict[str, list[Any]]] = {}
        self._seen: dict[str, Seen] = {}
        self._hooks: list[RemovableHandle] = []
        self._layers: dict[str, nn.Module] = {}
        self._looked_at = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._layers = dict(quantizers_in(pl_module))
        self._hooks = [
            layer.register_forward_hook(self._remember(name), with_kwargs=True) for name, layer in self._layers.items()
        ]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        due = step % self.every == 0 or step == trainer.max_steps
        if due and step != self._looked_at:  # accumulation: many batches a step
            self._looked_at = step  # every rank looks: where weights are sharded, a layer needs all of them
            for name, (x, counting) in self._seen.items():
                self._log(trainer, name, layer_health(self._layers[name], x, **counting), step)
        self._seen.clear()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._forget()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._forget()

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = state_dict["history"]

    def _remember(self, name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, arguments: tuple[Tensor, ...], named: dict[str, Any], output: Any) -> None:
            x, mask = (*arguments, named.get("x"))[0], (*arguments[1:], named.get("mask"))[0]
            if layer.training and isinstance(x, Tensor):
                counting = {"mask": mask, "lens": named.get("lens")}
                given = {key: value for key, value in counting.items() if value is not None}
                self._seen[name] = (x.detach(), given)

        return hook

    def _forget(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._seen.clear()
        self._layers.clear()

    def _log(self, trainer: Trainer, name: str, health: list[StageHealth], step: int) -> None:
        rows = {measure: [float(getattr(stage, measure)) for stage in health] for measure in MEASURES}
        history = self.history.setdefault(name, {"step": [], **{measure: [] for measure in MEASURES}})
        history["step"].append(float(step))
        for measure, row in rows.items():
            history[measure].append(row)
        values = {
            f"health/{name}/stage_{number}/{measure}": value
            for measure, row in rows.items()
            for number, value in enumerate(row, 1)
            if math.isfinite(value)
        }
        for logger in trainer.loggers:
            logger.log_metrics(values, step)
