"""What is measured: sizes of searches, training steps and memory runs, for a CPU, for a GPU and for a smoke test."""

from typing import NamedTuple

import torch
from torch import Tensor

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Case(NamedTuple):
    """N rows of size D against K codes; the codebook is float32 throughout."""

    rows: int
    dim: int
    codes: int
    dtype: str = "fp32"

    def __str__(self) -> str:
        return f"{self.rows}x{self.dim}x{self.codes}-{self.dtype}"

    def draw(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """x [N, D] and codebook [K, D], N(0, 1): never zeros, which run faster than data."""
        generator = torch.Generator(device).manual_seed(0)
        x = torch.randn(self.rows, self.dim, generator=generator, device=device)
        return x.to(DTYPES[self.dtype]), torch.randn(self.codes, self.dim, generator=generator, device=device)


_GPU = [
    (65536, 64, 512),
    (65536, 64, 1024),
    (65536, 256, 16384),
    (65536, 8, 16384),
    (150_000, 128, 1024),
    (150_000, 8, 1024),
    (1024, 256, 16384),
]
_SMOKE = [Case(300, 8, 50)]

SEARCH = {
    "cpu": [Case(16384, 64, 512), Case(16384, 64, 1024), Case(4096, 256, 16384), Case(16384, 8, 16384)],
    "cuda": [Case(*sizes, dtype) for sizes in _GPU for dtype in DTYPES],
    "smoke": _SMOKE,
}
STEP = {
    "cpu": [Case(16384, 64, 1024)],
    "cuda": [Case(*sizes, dtype) for sizes in ((16384, 64, 1024), *_GPU[1:3]) for dtype in DTYPES],
    "smoke": _SMOKE,
}
SEARCH_MEMORY = {"cpu": [Case(65536, 256, 16384)], "cuda": [Case(65536, 256, 16384)], "smoke": _SMOKE}
STEP_MEMORY = {"cpu": [Case(16384, 64, 1024)], "cuda": [Case(65536, 64, 1024)], "smoke": _SMOKE}
ALL = (SEARCH, STEP, SEARCH_MEMORY, STEP_MEMORY)
