"""`GaussianLikelihood`: real values around the decoder's output, with one standard deviation for all of them."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from .likelihood import Likelihood


class GaussianLikelihood(Likelihood):
    """log p(x | z) = -½((x - decoded)/σ)² - log σ - ½ log 2π, a density: it can exceed 0.

    With a fixed σ the loss is the squared error over 2σ² and a constant, so that σ² weighs it against the KL as β does.
    A learned σ settles at the root mean squared error (Rybkin et al. 2021, arXiv:2006.13202), and needs no weight.

    Args:
        sigma: σ, in units of x; where it begins, if learned. At 1 the loss is half the squared error and a constant.
        learned: σ is exp of the parameter `log_sigma`, which the optimizer must be given.
    """

    name = "gaussian"
    bounded = False

    def __init__(self, sigma: float = 0.1, *, learned: bool = False) -> None:
        super().__init__()
        if not 0 < sigma < math.inf:
            raise ValueError(f"sigma must be above 0 and finite; got {sigma}")
        self.start, self.learned = float(sigma), learned
        if learned:
            self.log_sigma = nn.Parameter(torch.tensor(math.log(sigma)))

    @property
    def sigma(self) -> Tensor | float:
        """σ: a float if fixed, a 0-d tensor if learned."""
        return self.log_sigma.float().exp() if self.learned else self.start

    def options(self) -> dict[str, Any]:
        return {"sigma": self.start, "learned": self.learned}

    def _elements(self, decoded: Tensor, x: Tensor) -> Tensor:
        if self.learned:
            log_sigma = self.log_sigma.to(decoded.dtype)
            error = (x - decoded) * torch.exp(-log_sigma)
            return -0.5 * error.square() - (log_sigma + 0.5 * math.log(2 * math.pi))
        error = (x - decoded) / self.start
        return -0.5 * error.square() - (math.log(self.start) + 0.5 * math.log(2 * math.pi))

    def _mean(self, decoded: Tensor) -> Tensor:
        return decoded.clamp(0, 1)

    def _sample(self, decoded: Tensor, generator: torch.Generator | None) -> Tensor:
        return decoded + self.sigma * torch.empty_like(decoded).normal_(generator=generator)
