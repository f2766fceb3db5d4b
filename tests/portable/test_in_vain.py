"""Where the certificate decides nothing the search is left out, and the answers stay what they were."""

import sys

import pytest
import torch
from torch import Tensor

from aevae_fast.portable import _coarse, _resolve, _search
from aevae_fast.portable._search import Workspace, load_rows, prepare, search
from aevae_fast.portable.nearest_code import nearest_code
from tests.exactness import distances64

MODULE = sys.modules[nearest_code.__module__]
ROWS, BLOCKS = 64, 32


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each search, in blocks of 64 on one thread."""
    seen: list[int] = []
    monkeypatch.setattr(MODULE, "threads_for", lambda x: 1)
    monkeypatch.setattr(MODULE, "block_rows", lambda codes, threads: ROWS)
    monkeypatch.setattr(MODULE, "search", lambda rows, *rest: (seen.append(len(rows)), search(rows, *rest))[1])
    return seen


def all_open(dim: int) -> tuple[Tensor, Tensor]:
    """Two clusters of codes, and every row beside the one that the shift is not in."""
    torch.manual_seed(0)
    side = torch.where(torch.arange(200) % 20 < 11, 1000.0, -1000.0)[:, None]
    return -1000 + 1e-3 * torch.randn(BLOCKS * ROWS, dim), side + 1e-3 * torch.randn(200, dim)


@pytest.mark.parametrize("dim", [8, 40])
def test_after_searches_in_vain_ever_more_blocks_go_straight_to_the_exact_comparison(
    dim: int, searched: list[int]
) -> None:
    x, codebook = all_open(dim)
    x[5], x[-1, 0] = torch.inf, torch.nan
    found = nearest_code(x[None], codebook, "euclidean")[0]
    assert len(searched) == 5  # blocks 0, 2, 6, 14 and 30
    assert found[[5, -1]].tolist() == [-1, -1]
    kept = found >= 0
    assert int(kept.sum()) == len(x) - 2
    assert torch.equal(found[kept], distances64(x[kept], codebook, "euclidean").argmin(1))


def test_each_thread_passes_over_its_own_blocks(searched: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "threads_for", lambda x: 3)
    x, codebook = all_open(8)
    found = nearest_code(x[None], codebook, "euclidean")[0]
    assert 3 <= len(searched) <= 12
    assert torch.equal(found, distances64(x, codebook, "euclidean").argmin(1))


def test_one_block_that_is_open_costs_the_next_one_its_search(searched: list[int]) -> None:
    hard, codebook = all_open(8)
    x = codebook[torch.arange(BLOCKS * ROWS) % 20 % 11] + 1e-3 * torch.randn(BLOCKS * ROWS, 8)  # beside the shift
    x[3 * ROWS : 4 * ROWS] = hard[:ROWS]
    found = nearest_code(x[None], codebook, "euclidean")[0]
    assert len(searched) == BLOCKS - 1
    assert torch.equal(found, distances64(x, codebook, "euclidean").argmin(1))


@pytest.mark.parametrize(("metric", "idle"), [("cosine", 0.0), ("dot", 0.0), ("euclidean", torch.nan)])
def test_rows_that_cost_no_comparison_are_not_held_against_the_search(
    metric: str, idle: float, searched: list[int]
) -> None:
    torch.manual_seed(0)
    x, codebook = torch.randn(BLOCKS * ROWS, 8), torch.randn(50, 8)
    x[: 8 * ROWS] = idle
    x[::5] = idle
    nearest_code(x[None], codebook, metric)
    assert searched == [ROWS] * BLOCKS


@pytest.mark.parametrize("coarse", [False, True], ids=["float32", "bfloat16"])
def test_what_is_certified_the_exact_comparison_finds_as_well(coarse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where codes are so close that float64 rounds more off their distances than the float32 bound is wide."""
    monkeypatch.setattr(_coarse, "pays", lambda rows, columns: coarse)
    monkeypatch.setattr(_coarse, "bfloat16_product", lambda a, b: (a.float() @ b.float().T).bfloat16())
    torch.manual_seed(0)
    for scale in (1e-12, 1e-14, 1e-16):
        x, codebook = torch.randn(2000, 4), scale * torch.randn(300, 4)
        codes = prepare(codebook, "euclidean", len(x))
        workspace = Workspace(codes, len(x))
        index, certified = search(load_rows(x[None], codes, workspace), codes, workspace)
        compared = _resolve._distances(x, codebook, "euclidean").argmin(1)
        assert torch.equal(index[certified], compared[certified])


def test_codes_are_prepared_by_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads inside an operation go on spinning for milliseconds, on the cores that the search needs."""
    before, seen, repeated = torch.get_num_threads(), [], _search._repeated
    monkeypatch.setattr(
        _search, "_repeated", lambda *codes: (seen.append(torch.get_num_threads()), repeated(*codes))[1]
    )
    torch.set_num_threads(2)
    try:
        prepare(torch.randn(5000, 24), "euclidean")
        assert seen == [1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
