"""Where the latents of training lie, as running estimates."""

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn


class LatentStatistics(nn.Module):
    """Centre, radius and range of latents, followed batch by batch without a look from the host.

    Centre and radius are those of the batches so far, each counting `decay` times the next one (and corrected for the
    start, so that they are the first batch's own after it). An end of the range moves at once to a value beyond it, and
    back at the rate of the others. Rows that are not finite count nowhere. The batch is that of all ranks, which must
    call alike; a forward that activation checkpointing repeats counts once. The buffers stay float32 in a
    half-precision model.

    Args:
        latent_shape: shape of one latent.
        decay: of the running estimates, in [0, 1).

    Buffers:
        center: `latent_shape`.
        radius_squared: 0-d, mean of ‖latent - centre‖², summed over the latent's elements.
        low, high: `latent_shape`, the range of each element.
        weight: 0-d, 1 - decayᵗ after t batches.
    """

    center: Tensor
    radius_squared: Tensor
    low: Tensor
    high: Tensor
    weight: Tensor

    def __init__(self, latent_shape: Sequence[int], decay: float = 0.99) -> None:
        super().__init__()
        self.decay = decay
        for name in ("center", "low", "high"):
            self.register_buffer(name, torch.zeros(*latent_shape))
        for name in ("radius_squared", "weight"):
            self.register_buffer(name, torch.zeros(()))

    @torch.no_grad()
    def update(self, latent: Tensor) -> None:
        """Take in `latent [B, *latent_shape]`.

        Raises:
            ValueError: another shape.
        """
        if latent.shape[1:] != self.center.shape:
            raise ValueError(
                f"latent: expected [B, {', '.join(map(str, self.center.shape))}] in training, as an image of "
                f"image_size gives, got {list(latent.shape)}"
            )
        if _is_repeated():
            return
        rows = latent.float().flatten(1)
        finite = rows.isfinite().all(1, keepdim=True)
        rows = torch.where(finite, rows, 0)
        total = _over_ranks(torch.cat([rows.sum(0), finite.sum().float()[None]]), "sum")
        count, mean = total[-1], total[:-1] / total[-1].clamp(min=1)
        squares = torch.where(finite, rows - mean, 0).square().sum()
        spread = _over_ranks(squares[None], "sum").view(()) / count.clamp(min=1)
        weight = torch.where(count > 0, self.decay * self.weight + (1 - self.decay), self.weight)
        rate = torch.where(count > 0, (1 - self.decay) / weight, 0)

        shape = self.center.shape
        step = mean.view(shape) - self.center
        # of a mixture of what was and the batch: no difference of large squares
        between = rate * step.square().sum()
        self.radius_squared.copy_((1 - rate) * (self.radius_squared + between) + rate * spread)
        self.center.add_(rate * step)
        self.weight.copy_(weight)
        ends = rows.new_full((1, 2 * rows.shape[1]), -torch.inf)  # of an empty batch
        both = torch.cat([-rows, rows], 1).where(finite, -torch.inf)
        lowest, highest = _over_ranks(torch.cat([ends, both]).amax(0), "max").view(2, *shape)
        self._follow(self.low, -lowest, count, rate, torch.minimum)
        self._follow(self.high, highest, count, rate, torch.maximum)

    def _follow(
        self, end: Tensor, reached: Tensor, count: Tensor, rate: Tensor, further: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        reached = torch.where(count > 0, reached, end)
        end.copy_(further(end + rate * (reached - end), reached))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "LatentStatistics":
        def keep_dtype(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(keep_dtype, recurse)
        return self

    def extra_repr(self) -> str:
        return f"latent={'x'.join(map(str, self.center.shape))}, decay={self.decay}"


def _is_repeated() -> bool:
    """Whether a backward pass runs: activation checkpointing repeats forwards inside it."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def _over_ranks(values: Tensor, how: str) -> Tensor:
    """Sum or largest over all ranks; values as they are in a single process."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(values, dist.ReduceOp.SUM if how == "sum" else dist.ReduceOp.MAX)
    return values
