"""Which implementation serves a call, and why not the faster one."""

import os
from typing import Any, Literal

import torch
from torch import Tensor

from . import _ops

Impl = Literal["reference", "portable", "triton"]


def triton_obstacle(device: torch.device) -> str | None:
    """Why the Triton kernels cannot run on `device`; None where they can."""
    if device.type == "cuda":
        return _ops.gpu_obstacle(device)
    if not _ops.has_triton():
        return "Triton is not installed"
    if os.environ.get("TRITON_INTERPRET") == "1":
        return None
    return f"Triton does not serve {device.type} devices (TRITON_INTERPRET=1 runs the kernels slowly on a CPU)"


def check_impl(impl: Impl | None) -> None:
    """Is it a name that exists? Whether it can run depends on the tensors that come."""
    if impl not in (None, "reference", "portable", "triton"):
        raise ValueError(f"impl must be None, 'reference', 'portable' or 'triton'; got {impl!r}")


def choose(impl: Impl | None, *tensors: Tensor) -> str:
    """The implementation for these tensors: "dispatch" leaves the choice to PyTorch's dispatcher, by device."""
    check_impl(impl)
    double = any(tensor.dtype == torch.float64 for tensor in tensors)
    if impl is None:
        return "reference" if double else "dispatch"
    if double and impl != "reference":
        raise ValueError(f"impl={impl!r} does not compute in float64; impl='reference' does")
    device = tensors[0].device
    if impl == "triton" and (obstacle := triton_obstacle(device)):
        raise ValueError(f"impl='triton' cannot run here: {obstacle}; impl='portable' can")
    # What the dispatcher would take goes through it: torch.compile knows operations, not the loading of what is behind.
    return "dispatch" if impl == ("triton" if device.type == "cuda" else "portable") else impl


def run(name: str, impl: str, *args: Any) -> Any:
    """Call operation `name`, through the dispatcher or directly where an implementation is forced."""
    if impl == "dispatch":
        return getattr(torch.ops.aevae_fast, name)(*args)
    return _ops.implementation("kernels" if impl == "triton" else impl, name)(*args)
