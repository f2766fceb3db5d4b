"""`FlowChain`: flows one after the other."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .flow import Flow


class FlowChain(Flow):
    """The first flow's y is the second's z, and so on; logarithms of the volumes add.

    Args:
        flows: one or more, all over the same dim.

    Raises:
        TypeError, ValueError: no flows, or of different dims.
    """

    name = "chain"

    def __init__(self, flows: Sequence[Flow]) -> None:
        if not flows or not all(isinstance(flow, Flow) for flow in flows):
            raise TypeError(f"flows must be one Flow or more; got {[type(flow).__name__ for flow in flows]}")
        dims = sorted({flow.dim for flow in flows})
        if len(dims) > 1:
            raise ValueError(f"flows must have the same dim; got {dims}")
        super().__init__(dims[0])
        self.flows = nn.ModuleList(flows)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        total = z.new_zeros(len(z))
        for flow in self.flows:
            z, log_det = flow(z)
            total = total + log_det
        return z, total

    @torch.no_grad()
    def inverse(self, y: Tensor) -> Tensor:
        for flow in reversed(list(self.flows)):
            assert isinstance(flow, Flow)
            y = flow.inverse(y)
        return y
