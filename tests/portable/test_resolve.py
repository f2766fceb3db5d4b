"""Rows that no bound decides are compared in float64, whichever way costs least."""

import pytest
import torch

from aevae_fast.portable import _resolve
from aevae_fast.portable._search import prepare
from aevae_fast.portable.nearest_code import nearest_code
from tests.exactness import DATA, distances64, real_mismatches


def clusters(n: int, size: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two far from each other and from any shift that fits both: each code is a candidate of every row beside it."""
    side = torch.where(torch.arange(max(n, size)) % 2 == 0, 1000.0, -1000.0)[:, None]
    return side[:n] + 1e-3 * torch.randn(n, dim), side[:size] + 1e-3 * torch.randn(size, dim)


def one_ulp_apart(n: int, size: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    bits = torch.randn(1, dim).view(torch.int32) + (torch.rand(size, dim) < 0.5).int()
    return torch.randn(n, dim), bits.view(torch.float32)


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "dot"])
@pytest.mark.parametrize("dim", [8, 40])
@pytest.mark.parametrize("make", [clusters, one_ulp_apart])
def test_rows_that_all_stay_open(make: object, dim: int, metric: str) -> None:
    torch.manual_seed(0)
    x, codebook = make(600, 300, dim)  # type: ignore[operator]
    assert real_mismatches(x, codebook, nearest_code(x[None], codebook, metric)[0], metric) == 0


@pytest.mark.parametrize("way", ["shared", "candidates"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine", "dot"])
@pytest.mark.parametrize("data", DATA)
def test_both_ways_give_the_float64_argmin(data: str, metric: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compared without a certificate, one piece at a time, so that a tie must be settled across pieces."""
    torch.manual_seed(0)
    x, codebook = DATA[data](150, 90, 17)
    monkeypatch.setattr(_resolve, "_ELEMENTS", 17 * 20)
    monkeypatch.setattr(_resolve, "_LOW", 0)
    monkeypatch.setattr(
        _resolve, "_DENSE", dict.fromkeys(["euclidean", "cosine", "dot"], 1e9 if way == "shared" else 0)
    )
    indices = _resolve.resolve(x, codebook, prepare(codebook, metric), metric)
    distance = distances64(x, codebook, metric)
    best = distance.amin(1, keepdim=True)
    rounding = (
        64
        * torch.finfo(torch.float64).eps
        * (best.abs() if metric == "euclidean" else x.norm(dim=1).double().mul(codebook.norm(dim=1).max())[:, None])
    )
    if metric == "cosine":
        rounding = 64 * torch.finfo(torch.float64).eps * x.norm(dim=1).double()[:, None]
    assert (distance.gather(1, indices[:, None]) <= best + rounding).all()
    if metric == "euclidean":
        assert torch.equal(indices, (distance <= best + rounding).int().argmax(1))


def test_overflow_and_rows_that_are_not_finite() -> None:
    x, codebook = torch.randn(400, 8), torch.randn(90, 8)
    x[3], x[5, 1] = torch.inf, torch.nan
    x[9:] *= 2.0**100
    indices = _resolve.resolve(x, codebook, prepare(codebook, "euclidean"), "euclidean")
    assert indices[[3, 5]].tolist() == [-1, -1]
    kept = indices >= 0
    assert torch.equal(indices[kept], distances64(x[kept], codebook, "euclidean").argmin(1))
