"""`GaussianPrior`: one diagonal Gaussian, learned or given."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ... import functional
from ..densities import gaussian_log_prob
from ._parameters import plain_values, row
from .prior import Prior


class GaussianPrior(Prior):
    """p(z) = N(mean, diag σ²), whose mean and log-variance are learned, or given and fixed. The KL is in closed form:
    ½ Σ ((μ - mean)²/σ² + eʷ - 1 - w), w = ln σ_q² - ln σ², by `functional.gaussian_kl`.

    Args:
        dim: D, the size of the flattened latent.
        mean: where it starts, or stays: a number for all, or D of them.
        logvar: ln σ², in the same way.
        learned: whether both are parameters; else they are buffers. Both are in the state dict.

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
    """

    name = "gaussian"
    mean: Tensor
    logvar: Tensor

    def __init__(
        self,
        dim: int,
        *,
        mean: float | Sequence[float] | Tensor = 0.0,
        logvar: float | Sequence[float] | Tensor = 0.0,
        learned: bool = True,
    ) -> None:
        super().__init__(dim)
        self.learned = bool(learned)
        self._given = {"mean": plain_values(mean), "logvar": plain_values(logvar)}
        for name, values in {"mean": mean, "logvar": logvar}.items():
            tensor = row(name, values, self.dim)
            if self.learned:
                self.register_parameter(name, nn.Parameter(tensor))
            else:
                self.register_buffer(name, tensor)

    def options(self) -> dict[str, Any]:
        return {**self._given, "learned": self.learned}

    def extra_repr(self) -> str:
        return f"dim={self.dim}, learned={self.learned}"

    def _log_prob(self, z: Tensor) -> Tensor:
        return gaussian_log_prob(z, self.mean.to(z.dtype), self.logvar.to(z.dtype))

    def _sample(self, n: int, generator: torch.Generator | None) -> Tensor:
        noise = self._normal(n, generator)
        return self.mean.to(noise.dtype) + torch.exp(self.logvar.to(noise.dtype) / 2) * noise

    def _kl(self, mean: Tensor, logvar: Tensor, z: Tensor) -> Tensor:
        return functional.gaussian_kl(mean, logvar, prior_mean=self.mean, prior_logvar=self.logvar, reduction="latent")
