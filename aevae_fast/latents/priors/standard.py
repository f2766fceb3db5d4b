"""`StandardPrior`: N(0, I)."""

from collections.abc import Callable

import torch
from torch import Tensor

from ... import functional
from ..densities import gaussian_log_prob
from .prior import Prior


class StandardPrior(Prior):
    """p(z) = N(0, I); Kingma & Welling 2014 (arXiv:1312.6114). It has no parameters. The KL is in closed form.

    Args:
        dim: D, the size of the flattened latent.
    """

    name = "standard"

    def _log_prob(self, z: Tensor) -> Tensor:
        return gaussian_log_prob(z)

    def settled(self) -> Callable[[Tensor], Tensor]:
        return gaussian_log_prob  # of latents of any size, as own networks may take images of any size

    def _sample(self, n: int, generator: torch.Generator | None) -> Tensor:
        return self._normal(n, generator)

    def _kl(self, mean: Tensor, logvar: Tensor, z: Tensor) -> Tensor:
        return functional.gaussian_kl(mean, logvar, reduction="latent")
