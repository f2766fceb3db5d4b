"""Sizes of what is measured: searches and training steps, Gaussian latents, mixtures, scalar and residual quantizers;
each draws its own data and is written as text and read back."""

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


class OpenCase(Case):
    """A search in which no row is certified: two clusters of codes, so much smaller than the way between them that no
    bound tells the codes of one apart once the other is centred; all rows are beside that one, nearly half of all
    codes. The way is short enough for fp16: rows are swept as often as there are sweeps."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"{self.rows}x{self.dim}x{self.codes}-open-{self.dtype}"

    def draw(self, device: torch.device) -> tuple[Tensor, Tensor]:
        x, codebook = super().draw(device)
        far = 2 / self.dim**0.5
        side = torch.where(torch.arange(self.codes, device=device) % 20 < 11, far, -far)
        return (1e-3 * x.float() - far).to(x.dtype), side[:, None] + 1e-3 * codebook


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
    if components == ["open"]:
        return OpenCase(rows, dim, codes[0], dtype)
    if components:
        return MixtureCase(rows, dim, int(components[0]), dtype)
    if len(codes) == 2:
        return ResidualCase(rows, dim, *codes, dtype)
    return Case(rows, dim, codes[0], dtype) if codes else LatentCase(rows, dim, dtype)
