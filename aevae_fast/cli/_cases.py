"""What the operations are checked on: shapes, dtypes, layouts, and data chosen to break a search."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Generator, Tensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
METRICS = ("euclidean", "cosine", "dot")
LAYOUTS = ("rows", "channel-first", "strided")
SHAPES = (  # D, K: either side of every block size, one code, powers of two and not
    (1, 1024),
    (3, 100),
    (8, 16384),
    (17, 1024),
    (64, 1),
    (64, 2),
    (64, 1024),
    (100, 100),
    (256, 16384),
    (768, 1024),
)
QUICK_SHAPES = ((3, 100), (64, 2), (64, 128))
ADVERSARIAL = {  # name → D, K
    "tiny codes": (256, 8192),
    "offset": (64, 1024),
    "duplicates": (64, 1024),
    "midway": (64, 1024),
    "outlier": (64, 1024),
    "not finite": (17, 100),
}


class Case(NamedTuple):
    """One input of an operation."""

    data: str
    rows: int
    dim: int
    codes: int
    dtype: torch.dtype
    metric: str = "euclidean"
    layout: str = "rows"

    def __str__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{self.data} {self.rows}x{self.dim}x{self.codes} {dtype} {self.metric} {self.layout}"

    def draw(self, device: torch.device | str) -> tuple[Tensor, Tensor, int]:
        """x in this case's dtype and layout, codebook [K, D] float32, and the axis of x that holds D. Always the same
        numbers, drawn on the CPU."""
        generator = torch.Generator().manual_seed(0)
        x, codebook = DATA[self.data](self.rows, self.dim, self.codes, generator)
        x, dim = lay_out(x.to(device=device, dtype=self.dtype), self.layout)
        return x, codebook.to(device), dim


def lay_out(x: Tensor, layout: str) -> tuple[Tensor, int]:
    """The rows x [N, D] as a tensor of that layout, and the axis that holds D. N is a multiple of 8 unless "rows"."""
    if layout == "rows":
        return x, -1
    maps = x.unflatten(0, (2, -1, 4))
    if layout == "channel-first":
        return maps.movedim(-1, 1).contiguous(), 1
    wide = x.new_zeros(2, maps.shape[1], 8, 2 * x.shape[1] + 1)
    wide[:, :, ::2, 1::2] = maps
    return wide[:, :, ::2, 1::2], -1


def _normal(n: int, d: int, k: int, generator: Generator) -> tuple[Tensor, Tensor]:
    return torch.randn(n, d, generator=generator), torch.randn(k, d, generator=generator)


def _tiny_codes(n: int, d: int, k: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Codes U(±1/K), the usual initialisation: ‖x‖² dwarfs every difference between codes."""
    return torch.randn(n, d, generator=generator), (2 * torch.rand(k, d, generator=generator) - 1) / k


def _offset(n: int, d: int, k: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Everything at 1000 ± 0.01: ‖x‖² - 2x·c + ‖c‖² would lose all digits of the distance."""
    x, codebook = _normal(n, d, k, generator)
    return 1000 + 0.01 * x, 1000 + 0.01 * codebook


def _duplicates(n: int, d: int, k: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Each code twice: the lower index must win."""
    x, codebook = _normal(n, d, math.ceil(k / 2), generator)
    return x, torch.cat([codebook, codebook])[:k]


def _midway(n: int, d: int, k: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Rows halfway between two codes of small integers: ties that are exact in every dtype."""
    codebook = torch.randint(-8, 9, (k, d), generator=generator).float()
    pair = torch.randint(k, (2, n), generator=generator)
    return (codebook[pair[0]] + codebook[pair[1]]) / 2, codebook


def _outlier(n: int, d: int, k: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """One code and one row far out: error bounds made of a largest norm become useless."""
    x, codebook = _normal(n, d, k, generator)
    x[n // 2] *= 1e3
    codebook[k // 2] = 1e6
    return x, codebook


def _not_finite(n: int, d: int, k: int, generator: Generator) -> tuple[Tensor, Tensor]:
    x, codebook = _normal(n, d, k, generator)
    x[::5, 0], x[1::5, d - 1], x[2::5, d // 2] = torch.nan, torch.inf, -torch.inf
    return x, codebook


DATA: dict[str, Callable[[int, int, int, Generator], tuple[Tensor, Tensor]]] = {
    "normal": _normal,
    "tiny codes": _tiny_codes,
    "offset": _offset,
    "duplicates": _duplicates,
    "midway": _midway,
    "outlier": _outlier,
    "not finite": _not_finite,
}


def row_count(dim: int, codes: int, elements: int, layout: str = "rows") -> int:
    """Rows for which the reference's [N, K, D] differences number about `elements`: between 32 and 4104."""
    rows = min(max(elements // (dim * codes), 32), 4096) // 8 * 8
    return rows + 5 if layout == "rows" else rows  # odd where it may be: the last block is never full


def search_cases(quick: bool, elements: int) -> Iterator[Case]:
    """Every dtype and metric over the shapes, then layouts, then the adversarial sets."""
    shapes = QUICK_SHAPES if quick else SHAPES
    for dtype in DTYPES:
        for metric in METRICS:
            for dim, codes in shapes:
                yield Case("normal", row_count(dim, codes, elements), dim, codes, dtype, metric)
            for layout in LAYOUTS[1:]:
                yield Case("normal", row_count(17, 100, elements, layout), 17, 100, dtype, metric, layout)
        for data, (dim, codes) in ADVERSARIAL.items():
            size = min(codes, 256) if quick else codes
            for metric in METRICS if data == "duplicates" else METRICS[:1]:
                yield Case(data, row_count(dim, size, elements), dim, size, dtype, metric)


def layer_cases(quick: bool, elements: int) -> Iterator[Case]:
    """For what follows the search: every dtype and layout, fewer shapes."""
    for dtype in DTYPES:
        for dim, codes in QUICK_SHAPES if quick else ((1, 100), (17, 1024), (64, 1), (64, 1024), (768, 100)):
            yield Case("normal", row_count(dim, codes, elements), dim, codes, dtype)
        for layout in LAYOUTS[1:]:
            yield Case("normal", row_count(17, 100, elements, layout), 17, 100, dtype, "cosine", layout)
