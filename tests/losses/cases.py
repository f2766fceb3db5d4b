"""The likelihoods under test, and images for them."""

from typing import Any

import torch
from torch import Tensor

from aevae_fast.losses import Likelihood, make_likelihood

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "bernoulli": ("bernoulli", {}),
    "bernoulli_true_entropy": ("bernoulli", {"subtract_true_entropy": True}),
    "gaussian": ("gaussian", {"sigma": 0.3}),
    "gaussian_learned": ("gaussian", {"sigma": 0.3, "learned": True}),
    "discretized_logistic": ("discretized_logistic", {}),
    "discretized_logistic_mixture": ("discretized_logistic_mixture", {"components": 3}),
    "categorical": ("categorical", {}),
}
DISCRETE = ["discretized_logistic", "discretized_logistic_mixture", "categorical"]


def case(name: str, **options: Any) -> Likelihood:
    kind, given = CASES[name]
    return make_likelihood(kind, **{**given, **options})


def images(likelihood: Likelihood, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """decoded [2, 3·p, 2, 5] and x [2, 3, 2, 5] of 8-bit values, both ends among them."""
    torch.manual_seed(0)
    level = torch.randint(0, 256, (2, 3, 2, 5))
    level[:, :, 0, :2] = torch.tensor([0, 255])
    x = level.to(dtype) / 255
    return torch.randn(2, 3 * likelihood.outputs_per_channel, 2, 5, dtype=dtype), x
