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

    z is rounded: what it holds is compared up to the middle between neighbours. The ends of the dtype hold all that is
    beyond them, and only their other side is compared.
    """
    limits, held = torch.finfo(z.dtype), np.sort(z.numpy())
    up, down = ((held.astype(np.float64) + np.nextafter(held, held.dtype.type(end))) / 2 for end in (1, 0))
    upto = np.searchsorted(held, held, side="right") / len(held)
    below = np.searchsorted(held, held, side="left") / len(held)
    above_end, below_end = held > limits.tiny, held < 1 - limits.eps / 2
    distances = [
        np.abs(upto[below_end] - distribution(up[below_end])),
        np.abs(below[above_end] - distribution(down[above_end])),
    ]
    return float(np.concatenate(distances).max() * len(held) ** 0.5)


def mean_is(samples: Tensor, expected: float, relative: float) -> bool:
    """Whether the mean is the expected one to 5 standard errors, and to what the samples themselves are good to."""
    error = 5 * samples.std() / len(samples) ** 0.5 + relative * abs(expected)
    return bool((samples.mean() - expected).abs() <= error)
