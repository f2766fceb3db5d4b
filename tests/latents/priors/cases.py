"""Priors whose parameters are nothing special, for the tests."""

import math
from typing import Any

import torch
from torch import Tensor

from aevae_fast.latents.priors import Prior, make_prior

IMAGE = (1, 2, 2)
OPTIONS: dict[str, dict[str, Any]] = {
    "standard": {},
    "gaussian": {},
    "mixture": {"components": 4},
    "vamp": {"components": 5, "input_shape": list(IMAGE)},
    "planar": {"length": 5},
    "radial": {"length": 5},
    "coupling": {"hidden": [16]},
    "spline": {"hidden": [16]},
    "autoregressive": {"hidden": [16]},
}
LEARNED = [name for name in OPTIONS if name != "standard"]
NETWORKS = {"coupling", "spline", "autoregressive"}
NEEDS_TWO = {"coupling", "spline"}


class LinearPosterior:
    """Images to mean and log-variance, for a Vamp prior without a model."""

    def __init__(self, dim: int, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(3)
        self.weight = 3 * torch.randn(math.prod(IMAGE), dim, generator=generator, dtype=torch.float64).to(dtype)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean = images.flatten(1) @ self.weight
        return mean, -1 - mean.abs() / 4


def some_prior(name: str, dim: int, dtype: torch.dtype = torch.float64) -> Prior:
    """With parameters drawn around those that it starts with."""
    torch.manual_seed(5)
    prior = make_prior(name, dim, **OPTIONS[name]).to(dtype)
    prior.bind(LinearPosterior(dim, dtype))
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1 if name in NETWORKS else 0.3)
        if name == "vamp":
            prior.pseudo_inputs.uniform_()
    return prior
