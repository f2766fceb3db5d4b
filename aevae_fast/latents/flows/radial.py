"""`RadialFlow`: a swelling or a shrinking around one point."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..densities import wide_dtype
from .flow import Flow


class RadialFlow(Flow):
    """y = z + β̂·(z - z₀)/(α + r), r = ‖z - z₀‖; Rezende & Mohamed 2015 (arXiv:1505.05770), eq. 14, made invertible as
    in appendix A.2.

    α > 0 is held as its logarithm, and β̂ = -α + s with s = ln(1 + e^β) > 0, so that the distance from z₀, which
    becomes r·(r + s)/(r + α), rises with r. The volume: ln |det| = (D - 1)·ln((r + s)/(r + α)) + ln((r² + 2αr + αs)/(r
    + α)²). It starts at the identity. The inverse is the root of a quadratic.

    Args:
        dim: D.
    """

    name = "radial"

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.center = nn.Parameter(torch.randn(dim))
        alpha = math.sqrt(dim)
        self.log_alpha = nn.Parameter(torch.tensor(math.log(alpha)))
        self.beta = nn.Parameter(torch.tensor(alpha + math.log(-math.expm1(-alpha))))  # s = α

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        center, alpha, s = self._parameters_in(z.dtype)
        away = z - center
        r = torch.linalg.vector_norm(away, dim=-1)
        swelling = (r + s) / (r + alpha)
        slope = (r.square() + 2 * alpha * r + alpha * s) / (r + alpha).square()  # of the distance from z₀ in r
        log_det = (self.dim - 1) * swelling.log() + slope.log()
        return center + away * swelling.unsqueeze(-1), log_det

    @torch.no_grad()
    def inverse(self, y: Tensor) -> Tensor:
        wide = wide_dtype(y)
        center, alpha, s = self._parameters_in(wide)
        away = y.to(wide) - center
        distance = torch.linalg.vector_norm(away, dim=-1)
        # r² + (s - distance)·r - α·distance = 0, its root above 0 without cancellation
        half = (distance - s) / 2
        root = (half.square() + alpha * distance).sqrt()
        r = torch.where(half > 0, half + root, alpha * distance / (root - half).clamp(min=torch.finfo(wide).tiny))
        return (center + away * ((r + alpha) / (r + s)).unsqueeze(-1)).to(y.dtype)

    def _parameters_in(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """z₀, α and s."""
        return self.center.to(dtype), self.log_alpha.to(dtype).exp(), F.softplus(self.beta.to(dtype))
