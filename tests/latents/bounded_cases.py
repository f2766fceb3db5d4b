"""What the tests of the bounded bottlenecks share."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

EXTREMES = (1e-3, 1e-2, 0.3, 1.0, 5.0, 1e3, 1e6)


def raw(*concentrations: float) -> Tensor:
    """What softplus makes these of, float64."""
    values = torch.tensor(concentrations, dtype=torch.float64)
    return values + torch.log(-torch.expm1(-values))


def pairs(values: tuple[float, ...] = EXTREMES) -> Tensor:
    """An encoder's output [1, 2·D] whose D pairs of concentrations are all of these with all."""
    first, second = torch.meshgrid(raw(*values), raw(*values), indexing="ij")
    return torch.cat([first.flatten(), second.flatten()])[None]


def kolmogorov_smirnov(z: Tensor, distribution: Callable[[np.ndarray], np.ndarray]) -> float:
    """√n times the largest distance of the empirical distribution from the exact one; above 2 once in 1,500 times.

    The ends of the dtype hold all that is beyond them: there only the side that is still exact is compared.
    """
    limits, values = torch.finfo(z.dtype), np.sort(z.numpy().astype(np.float64))
    exact = distribution(values)
    upto = np.searchsorted(values, values, side="right") / len(values)
    below = np.searchsorted(values, values, side="left") / len(values)
    inner_low, inner_high = values > limits.tiny, values < 1 - limits.eps / 2
    distances = np.concatenate([np.abs(upto - exact)[inner_high], np.abs(below - exact)[inner_low]])
    return float(distances.max() * len(values) ** 0.5)


def mean_is(samples: Tensor, expected: float, relative: float) -> bool:
    """Whether the mean is the expected one to 5 standard errors, and to what the samples themselves are good to."""
    error = 5 * samples.std() / len(samples) ** 0.5 + relative * abs(expected)
    return bool((samples.mean() - expected).abs() <= error)
