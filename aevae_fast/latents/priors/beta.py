"""`BetaPrior`: on the unit cube."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._beta_density import beta_log_density
from .._dirichlet_variate import log_gamma_variate
from .._numbers import inside
from ..densities import wide_dtype
from ._parameters import plain_values, row
from .prior import Prior


class BetaPrior(Prior):
    """p(z) = Π_d Beta(z_d; α_d, β_d) on (0, 1)ᴰ, given and fixed; uniform as it comes. Its density is 0 elsewhere.

    Args:
        dim: D, the size of the flattened latent.
        alpha, beta: concentrations, positive: a number for all, or D of them.

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
    """

    name = "beta"
    support = "unit"
    alpha: Tensor
    beta: Tensor

    def __init__(
        self,
        dim: int,
        *,
        alpha: float | Sequence[float] | Tensor = 1.0,
        beta: float | Sequence[float] | Tensor = 1.0,
    ) -> None:
        super().__init__(dim)
        self._given = {"alpha": plain_values(alpha), "beta": plain_values(beta)}
        for name, values in {"alpha": alpha, "beta": beta}.items():
            self.register_buffer(name, positive(name, row(name, values, self.dim)), persistent=False)
        self.beta_is_one = bool((self.beta == 1).all())

    def concentrations(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """α and β, in the dtype and the shape of one of the latents `like [B, D, ...]`."""
        return self.alpha.to(like.dtype).view(like.shape[1:]), self.beta.to(like.dtype).view(like.shape[1:])

    def options(self) -> dict[str, Any]:
        return dict(self._given)

    def _log_prob(self, z: Tensor) -> Tensor:
        wide, outside = wide_dtype(z), (z <= 0) | (z >= 1)  # NaN is neither, and stays NaN
        density = beta_log_density(z.to(wide).where(~outside, 0.5), self.alpha.to(wide), self.beta.to(wide))
        return density.where(~outside, -math.inf).sum(1).to(z.dtype)

    def _sample(self, n: int, generator: torch.Generator | None) -> Tensor:
        dtype = torch.promote_types(self._like.dtype, torch.float32)
        first, second = (
            log_gamma_variate(t.to(wide_dtype(t)).expand(n, -1), generator) for t in (self.alpha, self.beta)
        )
        return inside(torch.sigmoid(first - second), dtype)


def positive(name: str, values: Tensor) -> Tensor:
    """The values; ValueError that names them where one is not above 0."""
    if not (values > 0).all():
        raise ValueError(f"{name} must be positive; got {values.tolist()}")
    return values
