"""`total_correlation_terms`: a batch's KL as mutual information, total correlation and dimension-wise KL."""

import math
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ..functional import Impl, gaussian_logsumexp

Sampling = Literal["weighted", "stratified"]
Compat = Literal["reference", "ports"]


class TotalCorrelationTerms(NamedTuple):
    """Nats, 0-d, float32 (float64 for float64); their sum is the batch's mean of log q(z | x) - log p(z).

    Attributes:
        mutual_information: of x and z under q, E[log q(z | x) - log q(z)].
        total_correlation: KL(q(z) ‖ Π_d q(z_d)), E[log q(z) - Σ_d log q(z_d)].
        dimension_wise_kl: Σ_d KL(q(z_d) ‖ N(0, 1)), E[Σ_d log q(z_d) - log p(z)].
    """

    mutual_information: Tensor
    total_correlation: Tensor
    dimension_wise_kl: Tensor


def total_correlation_terms(
    z: Tensor,
    mean: Tensor,
    logvar: Tensor,
    dataset_size: int,
    *,
    sampling: Sampling = "weighted",
    compat: Compat | None = None,
    impl: Impl | None = None,
) -> TotalCorrelationTerms:
    """The KL's three parts (Chen et al. 2018, arXiv:1802.04942), with q(z) estimated from the batch's own posteriors.

    With B posteriors q(z | n) of a data set of N, M = B - 1:

    - "weighted": q(z_b) ≈ Σ_n q(z_b | n) / (N·B). A point's weights add up to 1/N: where posteriors overlap log q comes
      out log N too low, so that TC is up to D·log N too high. Training works with the gradient all the same.
    - "stratified": q(z_b) ≈ Σ_n w_bn q(z_b | n), w_bb = 1/N, one other (N - M)/(N·M), the rest 1/M: without bias for
      q(z). The other is the next of the batch, which must come in random order.

    The authors' code has 1/N in the first *column* and (N - M)/(N·M) in the second, not on the diagonals, so that
    points meet their own posterior at 1/M; well-known ports also add log w before the sum over dimensions, which
    counts it D times in log q(z). `compat` reproduces either, to repeat results; neither estimates the KL's parts.

    Memory grows with B·D: no [B, B] or [B, B, D] tensor is stored, forward or backward (but for float64, which the
    reference computes).

    Args:
        z: samples, z_b of q(z | x_b), `[B, D]`; any floating dtype, arithmetic is float32.
        mean, logvar: of the posteriors, `[B, D]`.
        dataset_size: N, at least B.
        sampling: "weighted" or "stratified".
        compat: None, "reference" (the authors' weights) or "ports" (these, counted D times); under "stratified".
        impl: of `gaussian_logsumexp`.

    Raises:
        TypeError, ValueError: an argument that does not fit, named; a batch below 2.
    """
    check_sampling(dataset_size, sampling, compat)
    _check_batch(z, mean, logvar, dataset_size)
    if compat is not None:
        joint, product = _ported(z, mean, logvar, dataset_size, compat, impl)
    else:
        estimate = _weighted if sampling == "weighted" else _stratified
        joint, product = estimate(z, mean, logvar, dataset_size, impl)
    conditional, prior = _log_densities(z, mean, logvar)
    parts = conditional - joint, joint - product, product - prior
    return TotalCorrelationTerms(*(part.mean() for part in parts))


def check_sampling(dataset_size: int, sampling: str, compat: str | None) -> None:
    """Raise TypeError or ValueError naming the first of the options that does not fit."""
    if isinstance(dataset_size, bool) or not isinstance(dataset_size, int):
        raise TypeError(f"dataset_size must be an int; got {type(dataset_size).__name__}")
    if dataset_size < 2:
        raise ValueError(f"dataset_size must be at least 2; got {dataset_size}")
    if sampling not in get_args(Sampling):
        raise ValueError(f"sampling must be one of {', '.join(map(repr, get_args(Sampling)))}; got {sampling!r}")
    if compat not in (None, *get_args(Compat)):
        raise ValueError(f"compat must be None, {', '.join(map(repr, get_args(Compat)))}; got {compat!r}")
    if compat is not None and sampling != "stratified":
        raise ValueError(f"compat is about the weights of sampling='stratified'; got {compat!r} with {sampling!r}")


def _check_batch(z: Tensor, mean: Tensor, logvar: Tensor, dataset_size: int) -> None:
    for name, tensor in {"z": z, "mean": mean, "logvar": logvar}.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor; got {type(tensor).__name__}")
        if tensor.ndim != 2 or tensor.shape != z.shape:
            raise ValueError(f"{name} must have shape [B, D], the same for all; got {tuple(tensor.shape)}")
    if len(z) < 2:
        raise ValueError(f"z must be a batch of at least 2: q(z) is estimated from the others; got {len(z)}")
    if dataset_size < len(z):
        raise ValueError(f"dataset_size must be at least the batch, {len(z)}; got {dataset_size}")


def _log_densities(z: Tensor, mean: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    """log q(z | x) and log p(z), `[B]` each."""
    dtype = torch.promote_types(z.dtype, torch.float32)
    z, mean, logvar = z.to(dtype), mean.to(dtype), logvar.to(dtype)
    standardized = (z - mean) * torch.exp(-logvar / 2)
    constant = z.shape[1] * math.log(2 * math.pi)
    conditional, prior = (standardized.square() + logvar).sum(1), z.square().sum(1)
    return -(conditional + constant) / 2, -(prior + constant) / 2


def _weighted(z: Tensor, mean: Tensor, logvar: Tensor, dataset_size: int, impl: Impl | None) -> tuple[Tensor, Tensor]:
    """log q(z) and Σ_d log q(z_d), `[B]` each."""
    joint, marginals = gaussian_logsumexp(z, mean, logvar, per_dim=True, impl=impl)
    log_count = math.log(dataset_size * len(z))
    return joint - log_count, (marginals - log_count).sum(1)


def _stratified(z: Tensor, mean: Tensor, logvar: Tensor, dataset_size: int, impl: Impl | None) -> tuple[Tensor, Tensor]:
    """As `_weighted`. The weights are M times what they should be, so that most are 1."""
    others = len(z) - 1
    diagonals = [math.log(others / dataset_size), math.log((dataset_size - others) / dataset_size)]
    joint, marginals = gaussian_logsumexp(z, mean, logvar, diagonals=diagonals, per_dim=True, impl=impl)
    return joint - math.log(others), (marginals - math.log(others)).sum(1)


def _ported(
    z: Tensor, mean: Tensor, logvar: Tensor, dataset_size: int, compat: Compat, impl: Impl | None
) -> tuple[Tensor, Tensor]:
    """As `_weighted`. All rows have the same weights but the last but one, whose first entry is that of the second."""
    others = len(z) - 1
    own, other = 1 / dataset_size, (dataset_size - others) / (dataset_size * others)
    dtype = torch.promote_types(z.dtype, torch.float32)
    log_weight = torch.full((len(z),), -math.log(others), dtype=dtype, device=z.device)
    log_weight[1], odd = math.log(other), log_weight.clone()
    log_weight[0], odd[:2] = math.log(own), math.log(other)
    counted = z.shape[1] if compat == "ports" else 1

    def estimate(rows: slice, log_weight: Tensor) -> tuple[Tensor, Tensor]:
        joint, marginals = gaussian_logsumexp(z[rows], mean, logvar, log_weight, per_dim=True, impl=impl)
        if counted > 1:
            joint = gaussian_logsumexp(z[rows], mean, logvar, counted * log_weight, impl=impl)
        return joint, marginals.sum(1)

    rows = (slice(others - 1), log_weight), (slice(others - 1, others), odd), (slice(others, None), log_weight)
    parts = [estimate(*row) for row in rows]
    joint, product = (torch.cat(part) for part in zip(*parts, strict=True))
    return joint, product
