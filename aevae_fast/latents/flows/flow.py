"""`Flow`: a bijection of ℝᴰ whose volume change is known."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from .._checks import check_dim


class Flow(nn.Module, ABC):
    """z ↦ y, invertible, with log |det ∂y/∂z|.

    Args:
        dim: D.

    Attributes:
        name: by which `make_flow` knows the class.

    Raises:
        TypeError, ValueError: dim is not a positive whole number.
    """

    name: ClassVar[str]

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = check_dim(dim)

    @abstractmethod
    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z `[N, D]` → y `[N, D]` and log |det ∂y/∂z| `[N]`, both of z's dtype, float32 or float64, with gradient."""

    @abstractmethod
    @torch.no_grad()
    def inverse(self, y: Tensor) -> Tensor:
        """The z that `forward` maps to y, both `[N, D]`, without gradient."""

    def extra_repr(self) -> str:
        return f"dim={self.dim}"
