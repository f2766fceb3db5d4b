"""Invertible maps: the volume they change is known, so that densities go through them."""

from .chain import FlowChain
from .coupling import CouplingFlow, SplineFlow
from .flow import Flow
from .planar import PlanarFlow
from .radial import RadialFlow
from .registry import FLOWS, make_flow
from .zuko import AutoregressiveFlow, ZukoFlow

__all__ = [
    "FLOWS",
    "AutoregressiveFlow",
    "CouplingFlow",
    "Flow",
    "FlowChain",
    "PlanarFlow",
    "RadialFlow",
    "SplineFlow",
    "ZukoFlow",
    "make_flow",
]
