"""Which product a dimension takes, and how a tile's codes fall into groups."""

from dataclasses import dataclass

import torch
from torch import Tensor

EXTRA = 8  # columns beside the codes': bias in three parts, three bounds, the lift, a zero


@dataclass(frozen=True)
class Scheme:
    """`parts` 1: one product of rounded operands. 3: both split in two, hi·lo + lo·hi + hi·hi."""

    dim: int
    parts: int
    dtype: torch.dtype  # of the operands: float16 or bfloat16
    block_k: int  # codes in a tile
    steps: int  # a group is 2·steps codes of a tile
    bound_factor: float = 1.0  # below 1 the bounds hold no longer: for tests that must fail

    @property
    def unit(self) -> float:
        """Unit roundoff of the operands."""
        return 2.0**-11 if self.dtype == torch.float16 else 2.0**-8

    @property
    def segment(self) -> int:
        """Columns that one part takes."""
        if self.parts == 3:
            return -(-self.dim // 8) * 8
        return max(16, 1 << (self.dim - 1).bit_length()) if self.dim <= 256 else -(-self.dim // 64) * 64

    @property
    def width(self) -> int:
        """Columns of the whole product; to a multiple of 16, the step of the tensor cores."""
        return -(-(self.parts * self.segment + EXTRA) // 16) * 16

    @property
    def kappa(self) -> float:
        """Accumulation in float32, each step of 16 products cut to its largest addend, and operands rounded once."""
        depth = self.segment if self.parts == 1 else self.width
        return (1.55 * depth + 32) * 2.0**-23

    @property
    def slots(self) -> int:
        """Groups in a tile."""
        return self.block_k // (2 * self.steps)

    def round(self, value: Tensor) -> Tensor:
        """To the operands' dtype and back: float32."""
        return value.to(self.dtype).float()

    def up(self, value: Tensor) -> Tensor:
        """Rounded to the operands' dtype, not below value ≥ 0."""
        return self.round(value * (1 + 2.0**-6) + 2.0**-20)


def scheme_for(dim: int, parts: int | None = None, dtype: torch.dtype = torch.float16) -> Scheme:
    """What the search takes at this D; parts and dtype otherwise for comparison."""
    parts = parts or (3 if dim <= 16 else 1)
    return Scheme(dim, parts, dtype, block_k=128 if dim >= 256 else 256, steps=16 if dim <= 32 else 8)
