"""Is this noise standard normal, and are these two sets of it independent? By statistics of known distribution.

Each statistic yields its p-value: the chance that true noise strays as far. `accept` compares the least of k of them
with LEVEL / k (Bonferroni), so that a test of true noise fails for at most one seed in 1 / LEVEL, however many
statistics it holds; as seeds are fixed, it does so always or never.
"""

import math

import scipy.special
import scipy.stats
import torch
from torch import Tensor

LEVEL = 1e-3
_BINS = 256  # equally likely ones
_SIDE = 16  # by _SIDE bins, equally likely, of a pair
_TAIL = 3.5
# E x^k and the standard deviation of x^k, k = 1 … 4, of a standard normal x.
_MOMENTS = ((1, 0.0, 1.0), (2, 1.0, 2**0.5), (3, 0.0, 15**0.5), (4, 3.0, 96**0.5))


def accept(p_values: dict[str, float]) -> None:
    name, least = min(p_values.items(), key=lambda item: item[1])
    assert least >= LEVEL / len(p_values), f"{name}: p = {least:.2g}, the least of {len(p_values)}"


def of_one(noise: Tensor) -> dict[str, float]:
    """p-values that noise, n numbers of any shape, is standard normal: moments, bins, the largest gap, the tail."""
    x = noise.double().flatten()
    n = x.numel()
    found = {f"moment {k}": _two_sided(((x**k).mean() - mean) / spread * n**0.5) for k, mean, spread in _MOMENTS}
    found["bins"] = _chi_square(torch.bincount(_bin(x, _BINS), minlength=_BINS))
    found["largest gap"] = float(scipy.stats.kstest(x.numpy(), "norm").pvalue)
    beyond = int((x.abs() > _TAIL).sum())
    found["tail"] = float(scipy.stats.binomtest(beyond, n, math.erfc(_TAIL / 2**0.5)).pvalue)
    return found


def of_two(first: Tensor, second: Tensor) -> dict[str, float]:
    """p-values that pairs of numbers at the same place are independent, each number in one pair only."""
    a, b = (noise.double().flatten() for noise in (first, second))
    joint = _bin(a, _SIDE) * _SIDE + _bin(b, _SIDE)
    return of_neighbours(a, b) | {"joint bins": _chi_square(torch.bincount(joint, minlength=_SIDE**2))}


def of_neighbours(first: Tensor, second: Tensor) -> dict[str, float]:
    """As `of_two`, also where a number is in two pairs, as in noise and the same noise moved on: the products that
    both correlations sum, x·y and (x² - 1)(y² - 1), are uncorrelated all the same."""
    a, b = (noise.double().flatten() for noise in (first, second))
    n = a.numel()
    return {
        "correlation": _two_sided((a * b).sum() / n**0.5),
        "correlation of squares": _two_sided(((a * a - 1) * (b * b - 1)).sum() / (2 * n**0.5)),
    }


def named(prefix: object, p_values: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}, {name}": p for name, p in p_values.items()}


def _bin(x: Tensor, bins: int) -> Tensor:
    return (torch.special.ndtr(x) * bins).long().clamp(0, bins - 1)


def _chi_square(counts: Tensor) -> float:
    return float(scipy.stats.chisquare(counts.numpy()).pvalue)


def _two_sided(deviations: Tensor) -> float:
    return float(scipy.special.erfc(abs(float(deviations)) / 2**0.5))
