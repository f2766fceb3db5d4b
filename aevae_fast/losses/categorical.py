"""`CategoricalLikelihood`: a softmax over the grey levels."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .likelihood import Likelihood


class CategoricalLikelihood(Likelihood):
    """log p(x | z) = log softmax(decoded)[level of x]: a free probability for each grey level (van den Oord et al.
    2016, arXiv:1601.06759). The decoder yields `levels` channels for each of x's.

    Images in [0, 1] are taken as levels: x is rounded to the nearest multiple of 1/(levels - 1), of 1/255 by default.

    Args:
        levels: number of grey levels.
    """

    name = "categorical"

    def __init__(self, levels: int = 256) -> None:
        super().__init__()
        check_levels(levels)
        self.levels = self.outputs_per_channel = levels

    def options(self) -> dict[str, Any]:
        return {"levels": self.levels}

    def _elements(self, decoded: Tensor, x: Tensor) -> Tensor:
        level = (x * (self.levels - 1)).round().long()
        return -F.cross_entropy(decoded.unflatten(1, (self.levels, -1)), level, reduction="none")

    def _mean(self, decoded: Tensor) -> Tensor:
        share = decoded.unflatten(1, (self.levels, -1)).softmax(1)
        grey = torch.linspace(0, 1, self.levels, dtype=share.dtype, device=share.device)
        return (share * grey.view(-1, *[1] * (share.ndim - 2))).sum(1).clamp(0, 1)

    def _sample(self, decoded: Tensor, generator: torch.Generator | None) -> Tensor:
        level = draw_category(decoded.unflatten(1, (self.levels, -1)), generator)
        return level.to(decoded.dtype) / (self.levels - 1)


def check_levels(levels: int) -> None:
    if isinstance(levels, bool) or not isinstance(levels, int):
        raise TypeError(f"levels must be an int; got {type(levels).__name__}")
    if levels < 2:
        raise ValueError(f"levels must be at least 2; got {levels}")


def draw_category(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """logits [B, K, ...] → int64 [B, ...], category k with probability softmax(logits)[k], by the Gumbel trick."""
    return (logits - torch.empty_like(logits).exponential_(generator=generator).log()).argmax(1)
