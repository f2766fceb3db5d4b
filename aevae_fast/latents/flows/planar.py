"""`PlanarFlow`: a squeeze along one direction."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..densities import wide_dtype
from .flow import Flow

_IDENTITY = math.log(math.e - 1)  # wᵀu at which û is u less its part along w


class PlanarFlow(Flow):
    """y = z + û·tanh(wᵀz + b); Rezende & Mohamed 2015 (arXiv:1505.05770), eq. 10, made invertible as in appendix A.1.

    û = u + (m(wᵀu) - wᵀu)·w/‖w‖² with m(a) = -1 + ln(1 + eᵃ), so that wᵀû > -1 and wᵀy rises with wᵀz. The volume:
    |det| = 1 + (1 - tanh²)·wᵀû = tanh² + (1 - tanh²)·ln(1 + exp(wᵀu)). It starts near the identity. The inverse has no
    closed form: wᵀz is found by bisection.

    Args:
        dim: D.
    """

    name = "planar"

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.weight = nn.Parameter(torch.randn(dim) / math.sqrt(dim))
        with torch.no_grad():
            along = _IDENTITY * self.weight / self.weight.square().sum()
        self.direction = nn.Parameter(along + 0.01 * torch.randn(dim))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        weight, direction, stretch, bias = self._parameters_in(z.dtype)
        bent = torch.tanh((z * weight).sum(-1) + bias)  # a product and a sum, which autocast leaves in z's dtype
        square = bent.square()
        det = square + (1 - square) * stretch
        return z + bent.unsqueeze(-1) * direction, det.clamp(min=torch.finfo(z.dtype).tiny).log()

    @torch.no_grad()
    def inverse(self, y: Tensor) -> Tensor:
        wide = wide_dtype(y)
        weight, direction, stretch, bias = self._parameters_in(wide)
        goal = (y.to(wide) * weight).sum(-1)
        # a = wᵀz solves a + wᵀû·tanh(a + b) = wᵀy, whose left side rises and lies within |wᵀû| of a
        low, high = goal - (stretch - 1).abs(), goal + (stretch - 1).abs()
        for _ in range(64):
            middle = (low + high) / 2
            above = middle + (stretch - 1) * torch.tanh(middle + bias) > goal
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        bent = torch.tanh((low + high) / 2 + bias)
        return (y.to(wide) - bent.unsqueeze(-1) * direction).to(y.dtype)

    def _parameters_in(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """w, û, 1 + wᵀû = ln(1 + exp(wᵀu)), and b."""
        weight, direction = self.weight.to(dtype), self.direction.to(dtype)
        product = (weight * direction).sum()
        stretch = F.softplus(product)
        square = weight.square().sum().clamp(min=torch.finfo(dtype).tiny)
        return weight, direction + (stretch - 1 - product) * weight / square, stretch, self.bias.to(dtype)
