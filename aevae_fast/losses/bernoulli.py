"""`BernoulliLikelihood`: binary values, from logits."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .likelihood import Likelihood


class BernoulliLikelihood(Likelihood):
    """log p(x | z) = x·log s + (1 - x)·log(1 - s), s = sigmoid(decoded): minus the binary cross-entropy.

    It is a likelihood where x is 0 or 1. For grey values between, it is the expected one of binary images drawn with x
    as their probability, and lies below 0 by the entropy of x at the least.

    Args:
        subtract_true_entropy: add that entropy, so that 0 is the best possible value for grey images too. The gradient
            is the same.
    """

    name = "bernoulli"

    def __init__(self, *, subtract_true_entropy: bool = False) -> None:
        super().__init__()
        self.subtract_true_entropy = subtract_true_entropy

    def options(self) -> dict[str, Any]:
        return {"subtract_true_entropy": self.subtract_true_entropy}

    def _elements(self, decoded: Tensor, x: Tensor) -> Tensor:
        log_prob = -F.binary_cross_entropy_with_logits(decoded, x, reduction="none")
        if self.subtract_true_entropy:
            log_prob = log_prob + torch.special.entr(x) + torch.special.entr(1 - x)
        return log_prob

    def _mean(self, decoded: Tensor) -> Tensor:
        return decoded.sigmoid()

    def _sample(self, decoded: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.bernoulli(decoded.sigmoid(), generator=generator)
