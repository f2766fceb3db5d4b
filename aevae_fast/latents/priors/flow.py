"""Priors that a flow makes of N(0, I)."""

from typing import Any

import torch
from torch import Tensor

from ..densities import gaussian_log_prob
from ..flows import make_flow
from .prior import Prior


class FlowPrior(Prior):
    """p(z) = N(f(z); 0, I)·|det ∂f/∂z|: the flow leads from z to its base, so that the density, which training asks for
    at every step, is the flow itself, and a draw is the inverse of one of N(0, I). The KL is an estimate.

    Subclasses name the flow of `make_flow`.

    Args:
        dim: D, the size of the flattened latent.
        options: of the flow, plain values.

    Raises:
        TypeError, ValueError: an option that does not fit, named.
        ImportError: the flow needs the package zuko.
    """

    def __init__(self, dim: int, **options: Any) -> None:
        super().__init__(dim)
        self._given = options
        self.flow = make_flow(self.name, dim, **options)

    def options(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self._given.items()}

    def _log_prob(self, z: Tensor) -> Tensor:
        base, log_det = self.flow(z)
        return gaussian_log_prob(base) + log_det

    def _sample(self, n: int, generator: torch.Generator | None) -> Tensor:
        return self.flow.inverse(self._normal(n, generator))


class PlanarPrior(FlowPrior):
    """A chain of `PlanarFlow`s; `length` says of how many (16)."""

    name = "planar"


class RadialPrior(FlowPrior):
    """A chain of `RadialFlow`s; `length` says of how many (16)."""

    name = "radial"


class CouplingPrior(FlowPrior):
    """`CouplingFlow`, with its `transforms` and `hidden`: density and draws take one pass."""

    name = "coupling"


class SplinePrior(FlowPrior):
    """`SplineFlow`, with its `transforms` and `hidden`: density and draws take one pass."""

    name = "spline"


class AutoregressivePrior(FlowPrior):
    """`AutoregressiveFlow`, with its `transforms` and `hidden`: the density takes one pass, a draw one for each of z's
    numbers."""

    name = "autoregressive"
