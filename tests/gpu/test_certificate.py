"""Millions of rows on the device, among them near ties, against float64: not one wrong index with a real gap."""

import pytest
import torch

from aevae_fast import functional

from . import CUDA, NEEDS_CUDA

pytestmark = NEEDS_CUDA

ROWS = 1 << 20


def near_ties(codebook: torch.Tensor) -> torch.Tensor:
    """Rows between two codes each, to within a part in 10^6 to 10^2 of their distance."""
    a, b = (codebook[torch.randint(len(codebook), (ROWS,), device=CUDA)] for _ in range(2))
    far = 10.0 ** -torch.randint(2, 7, (ROWS, 1), device=CUDA)
    return (a + b) / 2 + far * (a - b) * torch.randn(ROWS, 1, device=CUDA)


def wrong(x: torch.Tensor, codebook: torch.Tensor, found: torch.Tensor) -> int:
    """Rows whose code is further than the nearest by more than float32 rounds Σ(x - c)²."""
    count = 0
    for rows, index in zip(x.split(1 << 15), found.split(1 << 15), strict=True):
        distance = torch.cdist(rows.double(), codebook.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
        least = distance.amin(1)
        gap = distance.gather(1, index[:, None])[:, 0] - least
        count += int((gap > 2 * (x.shape[1] + 2) * 2.0**-24 * least).sum())
    return count


@pytest.mark.parametrize(
    ("dimension", "size"),
    [(4, 256), (8, 1024), (16, 1024), (32, 512), (64, 1024), (256, 512), (128, 8192), (256, 4096)],
    ids=str,
)
@pytest.mark.parametrize("data", ["normal", "near ties", "clusters"])
def test_a_million_rows(data: str, dimension: int, size: int) -> None:
    torch.manual_seed(0)
    codebook = torch.randn(size, dimension, device=CUDA)
    if data == "clusters":
        codebook = codebook[: size // 8].repeat(8, 1) + 1e-3 * codebook
    x = near_ties(codebook) if data == "near ties" else codebook[torch.randint(size, (ROWS,), device=CUDA)]
    if data != "near ties":
        x = x + 0.1 * torch.randn_like(x)
    assert wrong(x, codebook, functional.nearest_code(x, codebook, impl="triton")) == 0


@pytest.mark.parametrize(("dimension", "size"), [(64, 1024), (256, 4096)], ids=str)
def test_a_second_run_gives_the_same_bits(dimension: int, size: int) -> None:
    """Rows are listed for a second sweep in an order that varies; their codes do not."""
    torch.manual_seed(1)
    codebook = torch.randn(128, dimension, device=CUDA).repeat(size // 128, 1)
    codebook += 0.01 * torch.randn(size, dimension, device=CUDA)
    x = codebook[torch.randint(size, (ROWS,), device=CUDA)] + 0.05 * torch.randn(ROWS, dimension, device=CUDA)
    first = functional.nearest_code(x, codebook, impl="triton")
    for _ in range(5):
        assert torch.equal(functional.nearest_code(x, codebook, impl="triton"), first)
