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
SAMPLE = MODULE._SAMPLE
ROWS = 2048


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each search, on one thread; the first is of the sample."""
    seen: list[int] = []
    monkeypatch.setattr(MODULE, "threads_for", lambda x: 1)
    monkeypatch.setattr(MODULE, "search", lambda rows, *rest: (seen.append(len(rows)), search(rows, *rest))[1])
    return seen


def all_open(dim: int, rows: int = ROWS) -> tuple[Tensor, Tensor]:
    """Two clusters of codes, and every row beside the one that the shift is not in."""
    torch.manual_seed(0)
    side = torch.where(torch.arange(200) % 20 < 11, 1000.0, -1000.0)[:, None]
    return -1000 + 1e-3 * torch.randn(rows, dim), side + 1e-3 * torch.randn(200, dim)


def beside_the_shift(codebook: Tensor) -> Tensor:
    return codebook[torch.arange(ROWS) % 20 % 11] + 1e-3 * torch.randn(ROWS, codebook.shape[1])


@pytest.mark.parametrize("shape", [(1, ROWS), (ROWS, 1), (32, ROWS // 32)])
@pytest.mark.parametrize("dim", [8, 40])
def test_rows_of_which_a_sample_stays_open_go_straight_to_the_exact_comparison(
    dim: int, shape: tuple[int, int], searched: list[int]
) -> None:
    x, codebook = all_open(dim)
    x[5], x[-1, 0] = torch.inf, torch.nan
    found = nearest_code(x.view(*shape, dim), codebook, "euclidean").flatten()
    assert searched == [SAMPLE]
    assert found[[5, -1]].tolist() == [-1, -1]
    kept = found >= 0
    assert int(kept.sum()) == len(x) - 2
    assert torch.equal(found[kept], distances64(x[kept], codebook, "euclidean").argmin(1))


@pytest.mark.parametrize(("open_share", "searches"), [(0.3, True), (0.7, False)])
def test_half_of_the_rows_decides(open_share: float, searches: bool, searched: list[int]) -> None:
    """Wherever they stand: the sample is from all over."""
    hard, codebook = all_open(8)
    x = beside_the_shift(codebook)
    x[: int(open_share * ROWS)] = hard[: int(open_share * ROWS)]
    found = nearest_code(x[None], codebook, "euclidean")[0]
    assert searched[0] == SAMPLE
    assert sum(searched[1:]) == (ROWS if searches else 0)
    assert torch.equal(found, distances64(x, codebook, "euclidean").argmin(1))


def test_so_few_rows_that_a_sample_would_cost_much_are_searched(searched: list[int]) -> None:
    x, codebook = all_open(8, 8 * SAMPLE - 1)
    found = nearest_code(x[None], codebook, "euclidean")[0]
    assert sum(searched) == len(x)
    assert torch.equal(found, distances64(x, codebook, "euclidean").argmin(1))


@pytest.mark.parametrize(("metric", "idle"), [("cosine", 0.0), ("dot", 0.0), ("euclidean", torch.nan)])
def test_rows_that_cost_no_comparison_are_not_held_against_the_search(
    metric: str, idle: float, searched: list[int]
) -> None:
    torch.manual_seed(0)
    x, codebook = torch.randn(ROWS, 8), torch.randn(50, 8)
    x[: ROWS // 2] = idle
    x[::5] = idle
    nearest_code(x[None], codebook, metric)
    assert sum(searched[1:]) == ROWS


def test_rows_that_require_grad_are_looked_at_as_well() -> None:
    x, codebook = all_open(8)
    open_rows, searched_rows = x.requires_grad_(), beside_the_shift(codebook).requires_grad_()
    for rows in (open_rows, searched_rows):
        assert not nearest_code(rows[None], codebook, "euclidean").requires_grad


def test_open_rows_are_listed_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "_OPEN", 100)
    x, codebook = all_open(8)
    for shape in ((1, ROWS), (64, ROWS // 64)):
        found = nearest_code(x.view(*shape, 8), codebook, "euclidean").flatten()
        assert torch.equal(found, distances64(x, codebook, "euclidean").argmin(1))


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_distances_of_many_short_operations_keep_threads_of_their_own(metric: str) -> None:
    codes = prepare(torch.randn(1024, 8), metric)
    assert _resolve.resolving_threads(codes, metric, 4) == 4
    assert _resolve.resolving_threads(codes, "euclidean", 4) == 1
    assert _resolve.few_rows(codes, metric, 4) < _resolve.few_rows(codes, "euclidean", 4)


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
