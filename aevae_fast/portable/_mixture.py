"""The components of a Gaussian mixture, and the tiles in which points meet them.

Tiles are [rows, D, components]: PyTorch's loops are fast where the last axis is long, and D may be 2. They are made in
buffers that stay: fresh ones of this size come from the system page by page.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

_BITS = 1 / math.log(2)  # a nat
_ELEMENTS = 1 << 17  # log-densities of a tile: more would leave the caches, fewer cost more calls
_COMPONENTS = 64  # of a tile, at least, if need be with fewer rows
ROWS = 16  # of a tile, at most

Tile = tuple[slice, slice]


class Mixture:
    """The components, made ready: ln N(z) = offset - ½((z - μ)·scale)². All [D, K]."""

    def __init__(self, mean: Tensor, logvar: Tensor, log_weight: Tensor | None, diagonals: list[float]) -> None:
        logvar = logvar.T.float().contiguous()
        self.mean, self.scale = mean.T.float().contiguous(), torch.exp(-0.5 * logvar)
        self.offset = -0.5 * (logvar + math.log(2 * math.pi))
        self.log_weight, self.diagonals = log_weight, diagonals
        dim, self.size = self.mean.shape
        self.rows = min(ROWS, max(1, _ELEMENTS // (_COMPONENTS * dim)))
        self.step = min(self.size, max(1, _ELEMENTS // (self.rows * dim)))

    def slices(self, start: int, stop: int) -> list[slice]:
        """Rows in groups of a tile's size."""
        return [slice(row, min(row + self.rows, stop)) for row in range(start, stop, self.rows)]

    def tiles(self, rows: slice) -> Iterator[Tile]:
        for k in range(0, self.size, self.step):
            yield rows, slice(k, min(k + self.step, self.size))

    def buffers(self, count: int) -> Callable[[Tile], list[Tensor]]:
        """Room for so many tensors of a tile, the same each time."""
        dim = len(self.mean)
        room = self.mean.new_empty(count, self.rows * dim * self.step)

        def take(tile: Tile) -> list[Tensor]:
            shape = (tile[0].stop - tile[0].start, dim, tile[1].stop - tile[1].start)
            return [part[: math.prod(shape)].view(shape) for part in room]

        return take

    def standardized(self, z: Tensor, tile: Tile, out: Tensor) -> Tensor:
        """(z - μ)/σ of a tile [b, D, k]."""
        rows, columns = tile
        return torch.sub(z[rows, :, None], self.mean[:, columns], out=out).mul_(self.scale[:, columns])

    def log_density(self, standardized: Tensor, tile: Tile, out: Tensor) -> Tensor:
        return torch.addcmul(self.offset[:, tile[1]], standardized, standardized, value=-0.5, out=out)

    def diagonal(self, tile: Tile, offset: int) -> Tensor:
        """Where in a tile column = row + offset, modulo K: [b, k] bool."""
        rows, columns = (torch.arange(part.start, part.stop, device=self.mean.device) for part in tile)
        return (rows[:, None] + offset) % self.size == columns

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


def exponential_(x: Tensor) -> Tensor:
    """exp of x in place, by exp2: on a CPU PyTorch takes exp from MKL, which is slow where results underflow."""
    return x.mul_(_BITS).exp2_()
