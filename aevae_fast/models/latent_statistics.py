"""Where the latents of training lie, as running estimates."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class LatentStatistics(nn.Module):
    """Centre, radius and range of latents, followed batch by batch without a look from the host.

    Centre and radius are those of the batches so far, each counting `decay` times the next one (and corrected for the
    start, so that they are the first batch's own after it). An end of the range moves at once to a value beyond it, and
    back at the rate of the others. Rows that are not finite count nowhere. The buffers stay float32 in a half-precision
    model.

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
        rows = latent.float().flatten(1)
        finite = rows.isfinite().all(1, keepdim=True)
        count = finite.sum()
        rows = torch.where(finite, rows, 0)
        mean = rows.sum(0) / count.clamp(min=1)
        spread = (torch.where(finite, rows - mean, 0).square().sum() / count.clamp(min=1)).view(())
        weight = torch.where(count > 0, self.decay * self.weight + (1 - self.decay), self.weight)
        rate = torch.where(count > 0, (1 - self.decay) / weight, 0)

        shape = self.center.shape
        step = mean.view(shape) - self.center
        # of a mixture of what was and the batch: no difference of large squares
        between = rate * step.square().sum()
        self.radius_squared.copy_((1 - rate) * (self.radius_squared + between) + rate * spread)
        self.center.add_(rate * step)
        self.weight.copy_(weight)
        for end, extreme in ((self.low, torch.amin), (self.high, torch.amax)):
            self._follow(end, finite, rows, rate, extreme)

    def _follow(self, end: Tensor, finite: Tensor, rows: Tensor, rate: Tensor, extreme: Callable[..., Tensor]) -> None:
        if not len(rows):
            return
        fill = torch.inf if extreme is torch.amin else -torch.inf
        reached = extreme(torch.where(finite, rows, fill), 0).view(end.shape)
        reached = torch.where(finite.any(), reached, end)
        relaxed = end + rate * (reached - end)
        end.copy_(extreme(torch.stack([relaxed, reached]), 0))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "LatentStatistics":
        def keep_dtype(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(keep_dtype, recurse)
        return self

    def extra_repr(self) -> str:
        return f"latent={'x'.join(map(str, self.center.shape))}, decay={self.decay}"
