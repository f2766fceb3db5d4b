"""What the Gaussian operations are checked on: dtypes, layouts, parameterizations, and each option that adds a path."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from ._cases import DTYPES

LAYOUTS = ("rows", "chunks", "channel-first chunks", "strided")


class GaussianCase(NamedTuple):
    """One encoder output, and how it is read."""

    rows: int
    dim: int
    dtype: torch.dtype
    layout: str = "chunks"
    parameterization: str = "logvar"
    clamp: tuple[float, float] | None = None
    prior: bool = False
    reduction: str = "latent"
    samples: int | None = None
    free_bits: float = 0.0
    finite: bool = True

    def __str__(self) -> str:
        usual = type(self)(self.rows, self.dim, self.dtype)._asdict()
        options = [f"{name}={value}" for name, value in self._asdict().items() if value != usual[name]]
        return " ".join([f"{self.rows}x{self.dim} {str(self.dtype).removeprefix('torch.')}", *options])

    def options(self) -> dict[str, Any]:
        return {
            "parameterization": self.parameterization,
            "clamp": self.clamp,
            "reduction": self.reduction,
            "free_bits": self.free_bits,
        }

    def draw(self, device: torch.device) -> tuple[Tensor, ...]:
        """mean and logvar in this case's dtype and layout, then the prior's two if it has one, float32. The same
        numbers each time, drawn on the CPU."""
        generator = Generator().manual_seed(0)
        x = torch.randn(self.rows, 2, self.dim, generator=generator)
        if self.parameterization == "std":
            x[:, 1] = x[:, 1].exp()
        if not self.finite:
            x[::3, 1, 0], x[1::3, 0, -1] = torch.inf, torch.nan
        return self._tensors(x.to(device, self.dtype), generator)

    def standard(self, device: torch.device) -> tuple[Tensor, ...]:
        """N(0, 1) and the prior in the same layout, float32."""
        return self._tensors(torch.zeros(self.rows, 2, self.dim, device=device), Generator().manual_seed(0))

    def _tensors(self, x: Tensor, generator: Generator) -> tuple[Tensor, ...]:
        mean, logvar = lay_out(x, self.layout)
        if not self.prior:
            return mean, logvar
        prior = torch.randn(2, *mean.shape[1:], generator=generator).to(x.device)
        return mean, logvar, prior[0], prior[1]


def lay_out(x: Tensor, layout: str) -> tuple[Tensor, Tensor]:
    """x [N, 2, D] → mean and logvar, N a multiple of 4 where they are maps."""
    if layout == "rows":
        return x[:, 0].contiguous(), x[:, 1].contiguous()
    if layout == "chunks":
        mean, logvar = x.flatten(1).chunk(2, 1)
        return mean, logvar
    if layout == "channel-first chunks":
        maps = x.flatten(1).unflatten(0, (-1, 2, 2)).movedim(-1, 1).contiguous()
        mean, logvar = maps.chunk(2, 1)
        return mean, logvar
    wide = x.new_zeros(len(x), 2, 2 * x.shape[2] + 1)
    wide[:, :, 1::2] = x
    return wide[:, 0, 1::2], wide[:, 1, 1::2]


def gaussian_cases(quick: bool, elements: int) -> Iterator[GaussianCase]:
    """Every dtype over shapes and layouts, then the options one by one."""
    for dtype in DTYPES:
        for dim in (3, 16) if quick else (1, 3, 16, 100, 256, 1000):
            yield GaussianCase(rows(elements, dim), dim, dtype)
        for layout in LAYOUTS:
            yield GaussianCase(rows(elements, 17), 17, dtype, layout, reduction="none")
        for parameterization in ("logvar", "logstd", "std", "softplus"):
            for prior in (False, True):
                plain = GaussianCase(rows(elements, 32), 32, dtype, parameterization=parameterization, prior=prior)
                yield plain
                yield plain._replace(clamp=(0.2, 0.9), samples=3, free_bits=0.3, reduction="batch")
        yield GaussianCase(24, 5, dtype, finite=False)


def rows(elements: int, dim: int) -> int:
    """Rows of that size, about `elements` elements in all: between 32 and 4096, a multiple of 4."""
    return min(max(elements // dim, 32), 4096) // 4 * 4
