"""Mutual information of sampled codes and factors, from the aggregate posterior."""

import math

import numpy as np
import torch
from torch import Tensor

from aevae_fast.functional import gaussian_logsumexp

from .arrays import Array, Floats, Integers, check_codes, check_count, check_factors


def information_of_posteriors(
    mean: Array, logvar: Array, factors: Array, samples: int, seed: int
) -> tuple[Floats, Integers]:
    """I(z_j; v) in nats `[D, F]`, and the factors, numbered from 0; arguments and errors as
    `mutual_information_gap_posterior`."""
    check_count(samples=samples)
    device = mean.device if isinstance(mean, Tensor) else torch.device("cpu")
    center, spread = (
        torch.from_numpy(check_codes(name, array)).float().to(device)
        for name, array in (("mean", mean), ("logvar", logvar))
    )
    if spread.shape != center.shape:
        raise ValueError(f"logvar: expected mean's shape, {list(center.shape)}, got {list(spread.shape)}")
    values = check_factors(factors, len(mean))
    generator = torch.Generator(device).manual_seed(seed)
    whole = _entropy(center, spread, samples, generator)
    columns = []
    for column in values.T:
        counts = np.bincount(column)
        within = torch.zeros_like(whole)
        for value, count in enumerate(counts):
            chosen = torch.from_numpy(np.flatnonzero(column == value)).to(device)
            share = max(1, round(samples * int(count) / len(column)))
            within += int(count) / len(column) * _entropy(center[chosen], spread[chosen], share, generator)
        columns.append((whole - within).clamp(min=0).cpu().numpy())
    return np.stack(columns, 1), values


def _entropy(mean: Tensor, logvar: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    """H(z_j) of the mixture of N(mean, σ²), `[D]` float64: the mean of -log density over samples of it.

    Each component is drawn as often as any other, up to one.
    """
    rows = torch.arange(samples, device=mean.device) % len(mean)
    rows = torch.randperm(len(mean), generator=generator, device=mean.device)[rows]
    noise = torch.randn(samples, mean.shape[1], generator=generator, device=mean.device)
    z = mean[rows] + torch.exp(0.5 * logvar[rows]) * noise
    _, marginals = gaussian_logsumexp(z, mean, logvar, per_dim=True)
    return math.log(len(mean)) - marginals.double().mean(0)
