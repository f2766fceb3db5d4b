"""Which product a dimension takes, and how a tile's codes fall into groups."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

EXTRA = 8  # columns beside the codes': bias in three parts, three bounds, the lift, a zero
NARROWED = 4096  # codes from which on a row whose candidates a list cannot hold is swept again


@dataclass(frozen=True)
class Scheme:
    """`parts` 1: one product of rounded operands. 3: both split in two, hi·lo + lo·hi + hi·hi."""

    dim: int
    parts: int
    dtype: torch.dtype  # of the operands: float16 or bfloat16
    block_k: int  # codes in a tile
    steps: int  # a group is 2·steps codes of a tile
    again: Scheme | None = None  # of a second sweep, over the rows that this one leaves open
    bound_factor: float = 1.0  # below 1 the bounds hold no longer: for tests that must fail

    @property
    def unit(self) -> float:
        """Unit roundoff of the operands."""
        return 2.0**-11 if self.dtype == torch.float16 else 2.0**-8

    @property
    def segment(self) -> int:
        """Columns that one part takes: blocks of 64 where the search reads rows piece by piece."""
        if self.dim > 256 or (self.dim > 64 and self.dim % 16):
            return -(-self.dim // 64) * 64
        return max(8, 1 << (self.dim - 1).bit_length())

    @property
    def width(self) -> int:
        """Columns of the whole product; to a multiple of 16, the step of the tensor cores."""
        if self.parts == 3:
            return 3 * self.segment + (self.segment if self.segment <= 32 else 16)
        return -(-self.segment // 16) * 16 + 16

    @property
    def extra(self) -> int:
        """Where the columns beside the codes' begin."""
        return 3 * self.segment if self.parts == 3 else self.width - 16

    @property
    def kappa(self) -> float:
        """Accumulation in float32, each step of 16 products cut to its largest addend, and operands rounded once. In
        three parts those products that have a low one come first, and count little."""
        return (1.6 * self.segment + 32) * 2.0**-23

    @property
    def slots(self) -> int:
        """Groups in a tile."""
        return self.block_k // (2 * self.steps)

    def narrows(self, size: int) -> bool:
        """Whether a row with more than a list holds is swept again, to find its groups within reach: where codes
        are long and so many that comparing its slots in every tile would cost more."""
        return self.segment > 64 and size >= NARROWED

    def round(self, value: Tensor) -> Tensor:
        """To the operands' dtype and back: float32."""
        return value.to(self.dtype).float()

    def up(self, value: Tensor) -> Tensor:
        """Rounded to the operands' dtype, not below value ≥ 0."""
        return self.round(value * (1 + 2.0**-6) + 2.0**-20)


def scheme_for(dim: int, parts: int | None = None, dtype: torch.dtype = torch.float16) -> Scheme:
    """What the search takes at this D; where `parts` are given, one sweep of those, for comparison."""
    again = scheme_for(dim, 3) if parts is None and 32 < dim <= 64 else None
    taken = parts or (3 if dim <= 32 else 1)
    steps = 16 if 8 < dim <= 16 else 8
    short = dim <= 8 or (128 < dim <= 256 and dim % 16 == 0)
    return Scheme(dim, taken, dtype, 128 if short else 256, steps, again)
