"""`make_flow`: flows by name."""

from typing import Any

from .._checks import check_count
from .chain import FlowChain
from .coupling import CouplingFlow, SplineFlow
from .flow import Flow
from .planar import PlanarFlow
from .radial import RadialFlow
from .zuko import AutoregressiveFlow

_LAYERS: tuple[type[Flow], ...] = (PlanarFlow, RadialFlow)
_NETWORKS: tuple[type[Flow], ...] = (CouplingFlow, SplineFlow, AutoregressiveFlow)
FLOWS: dict[str, type[Flow]] = {kind.name: kind for kind in (*_LAYERS, *_NETWORKS)}


def make_flow(name: str, dim: int, **options: Any) -> Flow:
    """A flow over `dim` numbers: "planar" and "radial" as chains of `length` layers (16), "coupling", "spline" and
    "autoregressive" with the options of `ZukoFlow`.

    Raises:
        ValueError: the name is unknown, or an option out of range.
        TypeError: an option is unknown or of the wrong type.
        ImportError: the flow needs the package zuko.
    """
    if not isinstance(name, str):
        raise TypeError(f"flow must be a name; got {type(name).__name__}")
    if name not in FLOWS:
        raise ValueError(f"flow must be one of {', '.join(map(repr, FLOWS))}; got {name!r}")
    kind = FLOWS[name]
    if kind not in _LAYERS:
        return kind(dim, **options)
    length = check_count("length", options.pop("length", 16))
    return FlowChain([kind(dim, **options) for _ in range(length)])
