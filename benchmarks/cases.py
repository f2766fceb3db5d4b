"""What is measured, on a CPU, on a GPU and in a smoke test: searches, training steps, Gaussian latents, mixtures,
scalar quantizers, memory."""

from typing import Any, NamedTuple

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


class LatentCase(NamedTuple):
    """N means and as many log-variances of size D."""

    rows: int
    dim: int
    dtype: str = "fp32"

    def __str__(self) -> str:
        return f"{self.rows}x{self.dim}-{self.dtype}"

    def draw(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """An encoder's output, mean ‖ log-variance [N, 2·D], and upstream gradients [N, D]."""
        generator = torch.Generator(device).manual_seed(0)
        x = torch.randn(self.rows, 2 * self.dim, generator=generator, device=device)
        upstream = torch.randn(self.rows, self.dim, generator=generator, device=device)
        return x.to(DTYPES[self.dtype]), upstream.to(DTYPES[self.dtype])


class MixtureCase(NamedTuple):
    """N points of size D under a mixture of K diagonal Gaussians."""

    rows: int
    dim: int
    components: int
    dtype: str = "fp32"

    def __str__(self) -> str:
        return f"{self.rows}x{self.dim}-{self.components}-{self.dtype}"

    @property
    def elements(self) -> int:
        return self.rows * self.dim * self.components

    def draw(self, device: torch.device) -> tuple[Tensor, ...]:
        """z [N, D], means and log-variances [K, D], upstream gradients [N] and [N, D] of the density and marginals."""
        generator = torch.Generator(device).manual_seed(0)
        z, mean, logvar, each = (
            torch.randn(size, self.dim, generator=generator, device=device)
            for size in (self.rows, self.components, self.components, self.rows)
        )
        grad = torch.randn(self.rows, generator=generator, device=device)
        return z.to(DTYPES[self.dtype]), mean, logvar - 1, grad, each


class ScalarCase(NamedTuple):
    """N vectors of D entries that are quantized entry by entry."""

    rows: int
    dim: int
    dtype: str = "fp32"

    def __str__(self) -> str:
        return f"{self.rows}x{self.dim}-entries-{self.dtype}"

    def draw(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """x and upstream gradients, [N, D]."""
        generator = torch.Generator(device).manual_seed(0)
        x, upstream = (torch.randn(self.rows, self.dim, generator=generator, device=device) for _ in range(2))
        return x.to(DTYPES[self.dtype]), upstream.to(DTYPES[self.dtype])


class ResidualCase(NamedTuple):
    """N rows of size D through Q stages of K codes each; the codebooks are float32 throughout."""

    rows: int
    dim: int
    codes: int
    stages: int
    dtype: str = "fp32"

    def __str__(self) -> str:
        return f"{self.rows}x{self.dim}x{self.codes}x{self.stages}-{self.dtype}"

    def draw(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """x [N, D], N(0, 1), and codebooks [Q, K, D] that shrink from stage to stage, as what is left over does."""
        generator = torch.Generator(device).manual_seed(0)
        x = torch.randn(self.rows, self.dim, generator=generator, device=device)
        codebooks = torch.randn(self.stages, self.codes, self.dim, generator=generator, device=device)
        scale = 0.6 * 0.85 ** torch.arange(self.stages, device=device)
        return x.to(DTYPES[self.dtype]), codebooks * scale[:, None, None]


AnyCase = Case | LatentCase | MixtureCase | ScalarCase | ResidualCase


def parse(text: str) -> AnyCase:
    """The case that `str` made `text` of."""
    sizes, *components, dtype = text.split("-")
    rows, dim, *codes = map(int, sizes.split("x"))
    if components == ["entries"]:
        return ScalarCase(rows, dim, dtype)
    if components:
        return MixtureCase(rows, dim, int(components[0]), dtype)
    if len(codes) == 2:
        return ResidualCase(rows, dim, *codes, dtype)
    return Case(rows, dim, codes[0], dtype) if codes else LatentCase(rows, dim, dtype)


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
LATENT = {
    "cpu": [LatentCase(65536, 256, dtype) for dtype in DTYPES],
    "cuda": [LatentCase(rows, 256, dtype) for rows in (65536, 1 << 20) for dtype in DTYPES],
    "smoke": [LatentCase(300, 8)],
}
LATENT_MEMORY = {"cpu": [LatentCase(65536, 256)], "cuda": [LatentCase(1 << 20, 256)], "smoke": LATENT["smoke"]}
MIXTURE = {
    "cpu": [MixtureCase(1024, 32, 1024)],
    "cuda": [MixtureCase(1024, 32, 1024), MixtureCase(4096, 64, 4096)],
    "smoke": [MixtureCase(30, 8, 20)],
}
MIXTURE_MEMORY = {
    "cpu": [MixtureCase(1024, 64, 1024), MixtureCase(4096, 64, 4096)],
    "cuda": [MixtureCase(4096, 64, 4096)],
    "smoke": MIXTURE["smoke"],
}
FSQ = {
    "cpu": [ScalarCase(65536, 6)],
    "cuda": [ScalarCase(1 << 20, 6, dtype) for dtype in DTYPES],
    "smoke": [ScalarCase(300, 6)],
}
LFQ = {
    "cpu": [ScalarCase(256, 18), ScalarCase(16384, 18)],
    "cuda": [ScalarCase(4096, 18), ScalarCase(1 << 18, 18), ScalarCase(1 << 18, 18, "bf16")],
    "smoke": [ScalarCase(30, 6)],
}
FSQ_MEMORY = {"cpu": FSQ["cpu"], "cuda": FSQ["cuda"][:1], "smoke": FSQ["smoke"]}
LFQ_MEMORY = {"cpu": LFQ["cpu"], "cuda": LFQ["cuda"][:2], "smoke": LFQ["smoke"]}
COSINE = {
    "cpu": [Case(16384, 8, 16384)],
    "cuda": [Case(65536, 8, 16384, dtype) for dtype in DTYPES],
    "smoke": _SMOKE,
}
RESIDUAL = {
    "cpu": [ResidualCase(15_000, 128, 1024, 8), ResidualCase(15_000, 8, 1024, 9)],
    "cuda": [ResidualCase(150_000, dim, 1024, q, dtype) for dim, q in ((128, 8), (8, 9)) for dtype in DTYPES],
    "smoke": [ResidualCase(300, 8, 50, 3)],
}
ALL: tuple[dict[str, list[Any]], ...] = (
    SEARCH,
    STEP,
    LATENT,
    MIXTURE,
    FSQ,
    LFQ,
    COSINE,
    RESIDUAL,  # a training step
    RESIDUAL,  # a forward
    SEARCH_MEMORY,
    STEP_MEMORY,
    LATENT_MEMORY,
    MIXTURE_MEMORY,
    FSQ_MEMORY,
    LFQ_MEMORY,
    RESIDUAL,  # memory
)
