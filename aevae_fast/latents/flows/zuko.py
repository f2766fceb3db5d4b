"""Flows with networks inside, from the package zuko."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .._checks import check_count
from .flow import Flow


class ZukoFlow(Flow):
    """A flow of networks of the package zuko, which `pip install 'aevae_fast[flows]'` brings. z and its networks are
    taken in their parameters' dtype, autocast or not.

    Args:
        dim: D.
        transforms: how many one after the other.
        hidden: widths of the networks' hidden layers.

    Raises:
        ImportError: zuko is not installed.
        TypeError, ValueError: an argument that does not fit, named.
    """

    def __init__(self, dim: int, *, transforms: int = 3, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__(dim)
        self.transforms = check_count("transforms", transforms)
        if not isinstance(hidden, list | tuple):
            raise TypeError(f"hidden must be a sequence of widths; got {type(hidden).__name__}")
        self.hidden = [check_count("hidden", width) for width in hidden]

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(z.device.type, enabled=False):
            y, log_det = self._forward(self._inside(z))
        return y.to(z.dtype), log_det.to(z.dtype)

    @torch.no_grad()
    def inverse(self, y: Tensor) -> Tensor:
        with torch.autocast(y.device.type, enabled=False):
            return self._inverse(self._inside(y)).to(y.dtype)

    def _inside(self, tensor: Tensor) -> Tensor:
        return tensor.to(next(self.parameters()).dtype)

    def _forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def _inverse(self, y: Tensor) -> Tensor:
        raise NotImplementedError


class AutoregressiveFlow(ZukoFlow):
    """Each number scaled and shifted by what a masked network makes of those before it; Papamakarios et al. 2017
    (arXiv:1705.07057). `forward` takes one pass, `inverse` one for each number. `torch.compile` breaks the graph at it.
    """

    name = "autoregressive"

    def __init__(self, dim: int, *, transforms: int = 3, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__(dim, transforms=transforms, hidden=hidden)
        maf = import_zuko().flows.MAF(features=dim, transforms=transforms, hidden_features=self.hidden)
        self.transform: nn.Module = maf.transform

    def _forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        y, log_det = self.transform().call_and_ladj(z)
        return y, log_det

    def _inverse(self, y: Tensor) -> Tensor:
        z: Tensor = self.transform().inv(y)
        return z


def import_zuko() -> Any:
    """The package.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import zuko
        import zuko.flows
        import zuko.nn
        import zuko.transforms
    except ImportError as error:
        raise ImportError("this flow needs the package zuko: pip install 'aevae_fast[flows]'") from error
    return zuko
