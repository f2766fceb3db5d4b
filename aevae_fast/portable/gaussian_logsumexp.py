"""Log-densities of Gaussian mixtures tile by tile, as flash attention takes its rows; and their gradient.

Specification: `aevae_fast.reference.gaussian_logsumexp`. The log-densities of a few rows under a few components meet a
running maximum and a running sum while they are in cache; the gradient makes them again. z - μ is squared as it is: the
expanded square, a matrix product, would cancel where σ is small.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ._threads import on_threads, threads_for

_ELEMENTS = 1 << 15  # log-densities of a tile: its three buffers stay in a core's L2
_ROWS = 16  # of a tile
_RANGES = 8  # ranges of rows that sum up components' gradients apart, whatever the threads: the result is the same

Tile = tuple[slice, slice]


class _Mixture:
    """The components, made ready: ln N(z) = offset - ½((z - μ)·scale)²."""

    def __init__(self, mean: Tensor, logvar: Tensor, log_weight: Tensor | None, diagonals: list[float]) -> None:
        self.mean, self.scale = mean.float(), torch.exp(-0.5 * logvar.float())
        self.offset = -0.5 * (logvar.float() + math.log(2 * math.pi))
        self.log_weight, self.diagonals = log_weight, diagonals

    def tiles(self, rows: slice) -> Iterator[Tile]:
        size, dim = self.mean.shape
        step = max(1, _ELEMENTS // (_ROWS * dim))
        for k in range(0, size, step):
            yield rows, slice(k, min(k + step, size))

    def standardized(self, z: Tensor, tile: Tile) -> Tensor:
        """(z - μ)/σ of a tile [b, k, D]."""
        rows, columns = tile
        return torch.sub(z[rows, None], self.mean[columns]).mul_(self.scale[columns])

    def log_density(self, standardized: Tensor, tile: Tile) -> Tensor:
        return torch.addcmul(self.offset[tile[1]], standardized, standardized, value=-0.5)

    def diagonal(self, tile: Tile, offset: int) -> Tensor:
        """Where in a tile column = row + offset, modulo K: [b, k] bool."""
        rows, columns = (torch.arange(part.start, part.stop, device=self.mean.device) for part in tile)
        return (rows[:, None] + offset) % len(self.mean) == columns

    def weights(self, tile: Tile) -> Tensor | None:
        """ln w of a tile, [1, k] or [b, k]; None where all are 0."""
        if self.log_weight is None and not self.diagonals:
            return None
        columns = tile[1]
        weight = self.mean.new_zeros(1, columns.stop - columns.start)
        weight = weight if self.log_weight is None else self.log_weight[None, columns]
        for offset, value in enumerate(self.diagonals):
            weight = torch.where(self.diagonal(tile, offset), value, weight)
        return weight


def _row_slices(start: int, stop: int) -> Iterator[slice]:
    for row in range(start, stop, _ROWS):
        yield slice(row, min(row + _ROWS, stop))


class _Running:
    """log Σ exp over tiles that come one after the other."""

    def __init__(self, shape: tuple[int, ...], like: Tensor) -> None:
        self.highest, self.total = like.new_full(shape, -math.inf), like.new_zeros(shape)

    def add(self, values: Tensor) -> None:
        """values [b, k, ...], overwritten, summed over k."""
        highest = torch.maximum(self.highest, values.amax(1))
        shift = highest.where(highest != -math.inf, 0.0)  # -inf - -inf would be NaN
        self.total.mul_((self.highest - shift).exp_()).add_(values.sub_(shift[:, None]).exp_().sum(1))
        self.highest = highest

    def result(self) -> Tensor:
        return self.total.log() + self.highest.where(self.highest != -math.inf, 0.0)


def gaussian_logsumexp(
    z: Tensor, mean: Tensor, logvar: Tensor, log_weight: Tensor | None, diagonals: list[float], per_dim: bool
) -> tuple[Tensor, Tensor]:
    """z [B, D], mean and logvar [K, D], log_weight [K] float32 → joint [B], marginals [B, D] (empty unless per_dim),
    float32."""
    mixture, z = _Mixture(mean, logvar, log_weight, diagonals), z.float()
    joint, marginals = z.new_empty(len(z)), z.new_empty(z.shape if per_dim else (0,))

    def density(rows: slice) -> None:
        part = z[rows]
        whole, each = _Running((len(part),), z), _Running(tuple(part.shape), z)
        for tile in mixture.tiles(rows):
            log_density, weight = mixture.log_density(mixture.standardized(z, tile), tile), mixture.weights(tile)
            product = log_density.sum(2)
            whole.add(product if weight is None else product.add_(weight))
            if per_dim:
                each.add(log_density if weight is None else log_density.add_(weight[:, :, None]))
        joint[rows] = whole.result()
        if per_dim:
            marginals[rows] = each.result()

    on_threads(lambda: density, list(_row_slices(0, len(z))), threads_for(z))
    return joint, marginals


def gaussian_logsumexp_backward(
    grad_joint: Tensor | None,
    grad_marginals: Tensor | None,
    joint: Tensor,
    marginals: Tensor,
    z: Tensor,
    mean: Tensor,
    logvar: Tensor,
    log_weight: Tensor | None,
    diagonals: list[float],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of z, mean, logvar (their dtype) and of log_weight (float32 [K]), whose part the diagonals hide."""
    gradients = _Gradients(_Mixture(mean, logvar, log_weight, diagonals), z.float(), (joint, marginals))
    on_threads(lambda: lambda item: gradients.add(*item, grad_joint, grad_marginals), gradients.ranges, threads_for(z))
    grad_mean, grad_logvar = (gradients.components[:, i].sum(0) for i in range(2))
    return (
        gradients.z.to(z.dtype),
        grad_mean.to(mean.dtype),
        grad_logvar.to(logvar.dtype),
        gradients.weights.sum(0),
    )


class _Gradients:
    """Collects them: z's row by row, the components' in a few sums, one a range of rows."""

    def __init__(self, mixture: _Mixture, z: Tensor, totals: tuple[Tensor, Tensor]) -> None:
        self.mixture, self.rows = mixture, z
        self.totals = [total.where(total != -math.inf, 0.0) for total in totals]  # -inf - -inf would be NaN
        step = max(_ROWS, -(-len(z) // _RANGES))
        self.ranges = [(n, slice(r, min(r + step, len(z)))) for n, r in enumerate(range(0, len(z), step))]
        self.z = torch.zeros_like(z)
        self.components = z.new_zeros(len(self.ranges), 2, *mixture.mean.shape)
        self.weights = z.new_zeros(len(self.ranges), len(mixture.mean))

    def add(self, number: int, bounds: slice, grad_joint: Tensor | None, grad_marginals: Tensor | None) -> None:
        """Add what the rows of one range give."""
        for rows in _row_slices(bounds.start, bounds.stop):
            for tile in self.mixture.tiles(rows):
                t = self.mixture.standardized(self.rows, tile)
                share = self._share(number, tile, t, grad_joint, grad_marginals)
                scaled = t * share
                to_mean, to_logvar = self.components[number, :, tile[1]]
                to_logvar.add_(torch.mul(scaled, t).sub_(share).sum(0), alpha=0.5)
                scaled.mul_(self.mixture.scale[tile[1]])
                to_mean.add_(scaled.sum(0))
                self.z[rows].sub_(scaled.sum(1))

    def _share(
        self, number: int, tile: Tile, t: Tensor, grad_joint: Tensor | None, grad_marginals: Tensor | None
    ) -> Tensor:
        """What each log-density of a tile [b, k, D] counts in the result; [b, k, 1] for the joint alone. The weights'
        gradient is its sum."""
        rows, columns = tile
        log_density, weight = self.mixture.log_density(t, tile), self.mixture.weights(tile)
        whole = each = None
        if grad_joint is not None:
            whole = log_density.sum(2) if weight is None else log_density.sum(2).add_(weight)
            whole = whole.sub_(self.totals[0][rows, None]).exp_().mul_(grad_joint[rows, None])
        if grad_marginals is not None:
            each = log_density if weight is None else log_density.add_(weight[:, :, None])
            each = each.sub_(self.totals[1][rows, None]).exp_().mul_(grad_marginals[rows, None])
        counted = sum(part for part in (whole, None if each is None else each.sum(2)) if part is not None)
        assert isinstance(counted, Tensor)
        for offset in range(len(self.mixture.diagonals)):
            counted = counted.masked_fill(self.mixture.diagonal(tile, offset), 0.0)
        self.weights[number, columns].add_(counted.sum(0))
        if each is None:
            assert whole is not None
            return whole[:, :, None]
        return each if whole is None else each.add_(whole[:, :, None])
