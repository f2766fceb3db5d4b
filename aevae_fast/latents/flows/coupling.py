"""Couplings: every other number is moved as the ones between say."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from .zuko import ZukoFlow, import_zuko


class CouplingFlow(ZukoFlow):
    """Affine couplings, every other number scaled and shifted by what a network makes of the ones between, in turn;
    Dinh et al. 2017 (arXiv:1605.08803). Both directions take one pass. It takes a dim of 2 or more.

    The halves are strided views: zuko's own couplings look their indices up at each step, for which a GPU's host waits.
    """

    name = "coupling"
    _shares: tuple[int, ...] = (1, 1)  # numbers of the network's output for each parameter of the univariate transform

    def __init__(self, dim: int, *, transforms: int = 3, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__(dim, transforms=transforms, hidden=hidden)
        if dim < 2:
            raise ValueError(f"dim must be at least 2 for a coupling, which splits it in two; got {dim}")
        zuko = import_zuko()
        sizes = [(len(range(i % 2, dim, 2)), len(range(1 - i % 2, dim, 2))) for i in range(transforms)]
        self.networks = nn.ModuleList(
            zuko.nn.MLP(kept, moved * sum(self._shares), hidden_features=self.hidden) for kept, moved in sizes
        )

    def _forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        total = z.new_zeros(len(z))
        for i, network in enumerate(self.networks):
            kept, moved = z[:, i % 2 :: 2], z[:, 1 - i % 2 :: 2].contiguous()
            moved, log_det = self._transform(network(kept)).call_and_ladj(moved)
            z, total = _merged(i, kept, moved), total + log_det.sum(-1)
        return z, total

    def _inverse(self, y: Tensor) -> Tensor:
        for i, network in reversed(list(enumerate(self.networks))):
            kept, moved = y[:, i % 2 :: 2], y[:, 1 - i % 2 :: 2].contiguous()
            y = _merged(i, kept, self._transform(network(kept)).inv(moved))
        return y

    def _transform(self, output: Tensor) -> Any:
        """The univariate transforms of the moved numbers, from a network's output."""
        shift, scale = output.unflatten(-1, (-1, sum(self._shares))).unbind(-1)
        return import_zuko().transforms.MonotonicAffineTransform(shift, scale)


class SplineFlow(CouplingFlow):
    """Couplings by monotonic rational-quadratic splines of 8 bins on [-5, 5], straight beyond; Durkan et al. 2019
    (arXiv:1906.04032). Both directions take one pass. It takes a dim of 2 or more."""

    name = "spline"
    _shares = (8, 8, 7)

    def _transform(self, output: Tensor) -> Any:
        widths, heights, slopes = output.unflatten(-1, (-1, sum(self._shares))).split(self._shares, -1)
        return import_zuko().transforms.MonotonicRQSTransform(widths, heights, slopes)


def _merged(i: int, kept: Tensor, moved: Tensor) -> Tensor:
    """Both in their places of coupling i."""
    z = kept.new_empty(len(kept), kept.shape[1] + moved.shape[1])
    z[:, i % 2 :: 2], z[:, 1 - i % 2 :: 2] = kept, moved
    return z
