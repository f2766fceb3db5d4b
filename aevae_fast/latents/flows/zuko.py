"""Flows with networks inside, from the package zuko."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .._checks import check_count
from .flow import Flow


class ZukoFlow(Flow):
    """A transform of the package zuko, which `pip install 'aevae_fast[flows]'` brings. z and its networks are taken in
    their parameters' dtype, autocast or not.

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
        check_count("transforms", transforms)
        if not isinstance(hidden, list | tuple):
            raise TypeError(f"hidden must be a sequence of widths; got {type(hidden).__name__}")
        self.hidden = [check_count("hidden", width) for width in hidden]
        self.transform = self._build(_zuko(), features=dim, transforms=transforms, hidden_features=self.hidden)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(z.device.type, enabled=False):
            y, log_det = self.transform().call_and_ladj(self._inside(z))
        return y.to(z.dtype), log_det.to(z.dtype)

    @torch.no_grad()
    def inverse(self, y: Tensor) -> Tensor:
        with torch.autocast(y.device.type, enabled=False):
            return self.transform().inv(self._inside(y)).to(y.dtype)

    def _inside(self, tensor: Tensor) -> Tensor:
        return tensor.to(next(self.parameters()).dtype)

    def _build(self, zuko: Any, **options: Any) -> Any:
        raise NotImplementedError


class CouplingFlow(ZukoFlow):
    """Affine couplings, half the numbers scaled and shifted by what a network makes of the other half; Dinh et al. 2017
    (arXiv:1605.08803). Both directions take one pass. It takes a dim of 2 or more."""

    name = "coupling"

    def _build(self, zuko: Any, **options: Any) -> Any:
        return _coupling(zuko, self.dim, **options)


class SplineFlow(ZukoFlow):
    """Couplings by monotonic rational-quadratic splines of 8 bins on [-5, 5], the identity beyond; Durkan et al. 2019
    (arXiv:1906.04032). Both directions take one pass. It takes a dim of 2 or more."""

    name = "spline"

    def _build(self, zuko: Any, **options: Any) -> Any:
        univariate, shapes = zuko.transforms.MonotonicRQSTransform, [(8,), (8,), (7,)]
        return _coupling(zuko, self.dim, univariate=univariate, shapes=shapes, **options)


class AutoregressiveFlow(ZukoFlow):
    """Each number scaled and shifted by what a masked network makes of those before it; Papamakarios et al. 2017
    (arXiv:1705.07057). `forward` takes one pass, `inverse` one for each number."""

    name = "autoregressive"

    def _build(self, zuko: Any, **options: Any) -> Any:
        return zuko.flows.MAF(**options).transform


def _coupling(zuko: Any, dim: int, **options: Any) -> Any:
    if dim < 2:
        raise ValueError(f"dim must be at least 2 for a coupling, which splits it in two; got {dim}")
    return zuko.flows.NICE(**options).transform


def _zuko() -> Any:
    try:
        import zuko
    except ImportError as error:
        raise ImportError("this flow needs the package zuko: pip install 'aevae_fast[flows]'") from error
    return zuko
