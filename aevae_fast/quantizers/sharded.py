"""Codebooks that are parameters, where FSDP2 (`fully_shard`) keeps a part of them on each rank."""

import torch
from torch import Tensor


def is_sharded(parameter: Tensor) -> bool:
    """Whether this is a rank's part. Within a forward FSDP2 shows the whole instead, and forgets what is written."""
    return hasattr(parameter, "device_mesh")  # a DTensor; to ask for the class by name takes a second's import


def placed_as(tensor: Tensor, parameter: Tensor) -> Tensor:
    """tensor, of the parameter's shape and alike on all ranks, cut as the parameter is; nothing is sent."""
    if not is_sharded(parameter):
        return tensor
    from torch.distributed.tensor import DTensor, Replicate

    mesh = parameter.device_mesh  # type: ignore[attr-defined]
    whole = DTensor.from_local(tensor, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return whole.redistribute(placements=parameter.placements)  # type: ignore[attr-defined]


class WrittenInForward:
    """What a forward wrote to a parameter, kept until the next step: FSDP2 may have forgotten it by then."""

    def __init__(self, before: Tensor, after: Tensor) -> None:
        self.before, self.shift = before, after - before

    def seen(self, parameter: Tensor) -> Tensor:
        """The parameter as it was written."""
        forgotten = (parameter.detach() == self.before).all()
        return parameter + self.shift * forgotten

    @torch.no_grad()
    def restore(self, parameter: Tensor) -> None:
        """After the step: what the optimizer did to what was there before, it would have done to what was written."""
        if is_sharded(parameter):
            parameter.add_(placed_as(self.shift, parameter))
