"""`DirichletPrior`: on the simplex."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._beta_density import dirichlet_log_density
from .._checks import check_count
from .._dirichlet_variate import log_gamma_variate
from .._numbers import inside
from ..densities import wide_dtype
from ._parameters import plain_values, row
from .beta import positive
from .prior import Prior


class DirichletPrior(Prior):
    """p(z) = Dirichlet(z; β), given and fixed; uniform as it comes. Its density, with respect to all coordinates but
    one of a simplex, is that of z scaled to sum to 1, and 0 where a coordinate is not positive.

    Args:
        dim: the size of the flattened latent.
        concentration: β, positive: a number for all, or one for each of the dim coordinates.
        size: coordinates of a simplex; None: all dim. With fewer, the latent is a flattened map `[size, dim / size]`
            with a simplex at each position.

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
    """

    name = "dirichlet"
    support = "simplex"
    concentration: Tensor

    def __init__(
        self, dim: int, *, concentration: float | Sequence[float] | Tensor = 1.0, size: int | None = None
    ) -> None:
        super().__init__(dim)
        self.size = check_count("size", self.dim if size is None else size)
        if self.size < 2 or self.dim % self.size:
            raise ValueError(f"size must be 2 or more and divide dim = {self.dim}; got {self.size}")
        self._given = plain_values(concentration)
        values = positive("concentration", row("concentration", concentration, self.dim))
        self.register_buffer("concentration", values.view(self.size, -1), persistent=False)

    def options(self) -> dict[str, Any]:
        return {"concentration": self._given, "size": self.size}

    def _log_prob(self, z: Tensor) -> Tensor:
        shares = z.to(wide_dtype(z)).unflatten(1, self.concentration.shape)
        positive_ = ~(shares <= 0)  # NaN stays NaN
        shares = shares.where(positive_, 1.0)
        shares = shares / shares.sum(1, keepdim=True)
        density = dirichlet_log_density(shares, self.concentration.to(shares.dtype), -2)
        return density.where(positive_.all(1), -math.inf).sum(1).to(z.dtype)

    def _sample(self, n: int, generator: torch.Generator | None) -> Tensor:
        dtype = torch.promote_types(self._like.dtype, torch.float32)
        wide = self.concentration.to(wide_dtype(self.concentration)).expand(n, -1, -1)
        return inside(torch.softmax(log_gamma_variate(wide, generator), 1), dtype).flatten(1)
