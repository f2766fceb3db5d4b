"""Log-densities of Gaussian mixtures tile by tile, as flash attention takes its rows; and their gradient.

Specification: `aevae_fast.reference.gaussian_logsumexp`. The log-densities of a few rows under some components meet a
running maximum and a running sum while they are in cache; the gradient makes them again. z - μ is squared as it is: the
expanded square, a matrix product, would cancel where σ is small.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ._mixture import ROWS, Mixture, Tile, exponential_
from ._threads import on_threads, threads_for

_RANGES = 8  # ranges of rows that sum up components' gradients apart, whatever the threads: the result is the same


class _Running:
    """log Σ exp over tiles that come one after the other."""

    def __init__(self, shape: tuple[int, ...], like: Tensor) -> None:
        self.highest, self.total = like.new_full(shape, -math.inf), like.new_zeros(shape)

    def add(self, values: Tensor) -> None:
        """values [..., k], overwritten, summed over k."""
        highest = torch.maximum(self.highest, values.amax(-1))
        shift = highest.where(highest != -math.inf, 0.0)  # -inf - -inf would be NaN
        self.total.mul_(exponential_(self.highest - shift)).add_(exponential_(values.sub_(shift[..., None])).sum(-1))
        self.highest = highest

    def result(self) -> Tensor:
        return self.total.log() + self.highest.where(self.highest != -math.inf, 0.0)


def gaussian_logsumexp(
    z: Tensor, mean: Tensor, logvar: Tensor, log_weight: Tensor | None, diagonals: list[float], per_dim: bool
) -> tuple[Tensor, Tensor]:
    """z [B, D], mean and logvar [K, D], log_weight [K] float32 → joint [B], marginals [B, D] (empty unless per_dim),
    float32."""
    mixture, z = Mixture(mean, logvar, log_weight, diagonals), z.float()
    joint, marginals = z.new_empty(len(z)), z.new_empty(z.shape if per_dim else (0,))

    def worker() -> Callable[[slice], None]:
        buffers = mixture.buffers(1)

        def density(rows: slice) -> None:
            part = z[rows]
            whole, each = _Running((len(part),), z), _Running(tuple(part.shape), z)
            for tile in mixture.tiles(rows):
                (room,) = buffers(tile)
                log_density = mixture.log_density(mixture.standardized(z, tile, room), tile, room)
                weight, product = mixture.weights(tile), log_density.sum(1)
                whole.add(product if weight is None else product.add_(weight))
                if per_dim:
                    each.add(log_density if weight is None else log_density.add_(weight[:, None]))
            joint[rows] = whole.result()
            if per_dim:
                marginals[rows] = each.result()

        return density

    on_threads(worker, mixture.slices(0, len(z)), threads_for(z))
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
    """Gradients of z, mean, logvar (their dtype) and of log_weight (float32 [K], 0 where absent), whose part the
    diagonals hide."""
    upstream = (grad_joint, grad_marginals)
    gradients = _Gradients(Mixture(mean, logvar, log_weight, diagonals), z.float(), (joint, marginals), upstream)
    on_threads(gradients.worker, gradients.ranges, threads_for(z))
    grad_mean, grad_logvar = (gradients.components[:, i].sum(0).T.contiguous() for i in range(2))
    return (
        gradients.z.to(z.dtype),
        grad_mean.to(mean.dtype),
        grad_logvar.to(logvar.dtype),
        gradients.weights.sum(0),
    )


class _Gradients:
    """Collects them: z's row by row, the components' in a few sums, one a range of rows."""

    def __init__(
        self,
        mixture: Mixture,
        z: Tensor,
        totals: tuple[Tensor, Tensor],
        upstream: tuple[Tensor | None, Tensor | None],
    ) -> None:
        self.mixture, self.rows, self.upstream = mixture, z, upstream
        self.totals = [total.where(total != -math.inf, 0.0) for total in totals]  # -inf - -inf would be NaN
        step = max(ROWS, -(-len(z) // _RANGES))
        self.ranges = [(n, slice(r, min(r + step, len(z)))) for n, r in enumerate(range(0, len(z), step))]
        self.z = torch.zeros_like(z)
        self.components = z.new_zeros(len(self.ranges), 2, *mixture.mean.shape)
        self.weights = z.new_zeros(len(self.ranges), mixture.size)

    def worker(self) -> Callable[[tuple[int, slice]], None]:
        """Adds what the rows of one range give."""
        buffers = self.mixture.buffers(3)

        def add(item: tuple[int, slice]) -> None:
            number, bounds = item
            for rows in self.mixture.slices(bounds.start, bounds.stop):
                for tile in self.mixture.tiles(rows):
                    self._add_tile(number, tile, *buffers(tile))

        return add

    def _add_tile(self, number: int, tile: Tile, standardized: Tensor, density: Tensor, scaled: Tensor) -> None:
        """The last three: room for a tile each."""
        rows, columns = tile
        t = self.mixture.standardized(self.rows, tile, standardized)
        share = self._share(number, tile, t, density)
        torch.mul(t, share, out=scaled)
        to_mean, to_logvar = self.components[number, :, :, columns]
        to_logvar.add_(torch.mul(scaled, t, out=standardized).sub_(share).sum(0), alpha=0.5)
        scaled.mul_(self.mixture.scale[:, columns])
        to_mean.add_(scaled.sum(0))
        self.z[rows].sub_(scaled.sum(2))

    def _share(self, number: int, tile: Tile, t: Tensor, out: Tensor) -> Tensor:
        """What each log-density of a tile [b, D, k] counts in the result; [b, 1, k] for the joint alone. The weights'
        gradient is its sum."""
        rows, columns = tile
        grad_joint, grad_marginals = self.upstream
        log_density, weight = self.mixture.log_density(t, tile, out), self.mixture.weights(tile)
        whole = each = None
        if grad_joint is not None:
            whole = log_density.sum(1) if weight is None else log_density.sum(1).add_(weight)
            whole = exponential_(whole.sub_(self.totals[0][rows, None])).mul_(grad_joint[rows, None])
        if grad_marginals is not None:
            each = log_density if weight is None else log_density.add_(weight[:, None])
            each = exponential_(each.sub_(self.totals[1][rows, :, None])).mul_(grad_marginals[rows, :, None])
        if self.mixture.log_weight is not None:
            counted = sum(part for part in (whole, None if each is None else each.sum(1)) if part is not None)
            assert isinstance(counted, Tensor)
            for offset in range(len(self.mixture.diagonals)):
                counted = counted.masked_fill(self.mixture.diagonal(tile, offset), 0.0)
            self.weights[number, columns].add_(counted.sum(0))
        if each is None:
            assert whole is not None
            return whole[:, None]
        return each if whole is None else each.add_(whole[:, None])
