"""The CPU search is exact: not one index with a real gap, and ties to the lowest index."""

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aevae_fast import functional
from aevae_fast.portable import _resolve
from aevae_fast.portable._product import full_precision, product
from aevae_fast.portable._search import Workspace, load_rows, prepare
from aevae_fast.portable.nearest_code import nearest_code
from tests.exactness import DATA, distances64, real_mismatches


def search(x: torch.Tensor, codebook: torch.Tensor, metric: str = "euclidean") -> torch.Tensor:
    return nearest_code(x[None], codebook, metric)[0]


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "dot"])
@pytest.mark.parametrize("data", DATA)
def test_adversarial_sets(data: str, metric: str) -> None:
    torch.manual_seed(0)
    x, codebook = DATA[data](700, 300, 24)
    assert real_mismatches(x, codebook, search(x, codebook, metric), metric) == 0


@pytest.mark.parametrize("data", DATA)
def test_returns_the_float64_argmin_itself(data: str) -> None:
    torch.manual_seed(1)
    x, codebook = DATA[data](600, 200, 17)
    distance = distances64(x, codebook, "euclidean")
    rounding = 64 * torch.finfo(torch.float64).eps * distance.amin(1, keepdim=True)
    lowest = (distance <= distance.amin(1, keepdim=True) + rounding).int().argmax(1)
    assert torch.equal(search(x, codebook), lowest)


@pytest.mark.parametrize("dim", [1, 3, 8, 17, 64, 100, 256, 768])
@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 100, 1024, 1025, 2500])
def test_every_dim_and_size(dim: int, size: int) -> None:
    torch.manual_seed(dim * size)
    x, codebook = torch.randn(70, dim), torch.randn(size, dim)
    assert real_mismatches(x, codebook, search(x, codebook)) == 0


@pytest.mark.parametrize(("n", "size", "dim", "data"), [(48, 8192, 256, "tiny_codes"), (48, 16384, 64, "normal")])
def test_large_codebooks(n: int, size: int, dim: int, data: str) -> None:
    torch.manual_seed(0)
    x, codebook = DATA[data](n, size, dim)
    assert real_mismatches(x, codebook, search(x, codebook)) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("data", ["normal", "offset_1000", "midway"])
def test_dtypes(dtype: torch.dtype, data: str) -> None:
    torch.manual_seed(0)
    x, codebook = DATA[data](600, 300, 24)
    x = x.to(dtype)
    assert real_mismatches(x.float(), codebook, search(x, codebook)) == 0


def test_ties_go_to_the_lowest_index() -> None:
    torch.manual_seed(0)
    codebook = torch.randn(40, 16).repeat(5, 1)
    assert search(torch.randn(300, 16), codebook).max() < 40
    assert torch.equal(
        search(torch.zeros(5, 2), torch.tensor([[3.0, 0], [0, 1], [1, 0], [0, -1]])), torch.ones(5).long()
    )


def test_not_finite_rows_get_no_code() -> None:
    x = torch.randn(600, 8)
    x[5, 2], x[77, 0], x[599, 7] = torch.nan, torch.inf, -torch.inf
    indices = search(x, torch.randn(50, 8))
    assert (indices < 0).nonzero()[:, 0].tolist() == [5, 77, 599]
    assert (indices[[5, 77, 599]] == -1).all()


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "dot"])
def test_rows_that_need_no_comparison_get_none(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masked rows are zeros under the cosine metric. As near to every code as to any they would cost K·D each."""
    codebook = torch.randn(50, 8)
    x = torch.zeros(300, 8)
    if metric == "euclidean":
        x = torch.full((300, 8), torch.nan)
    x[7] = codebook[3]
    compared, usual = [], _resolve._compare
    monkeypatch.setattr(_resolve, "_compare", lambda x, *rest: (compared.append(len(x)), usual(x, *rest))[1])
    expected = torch.full((300,), -1 if metric == "euclidean" else 0)
    expected[7] = distances64(x[7:8], codebook, metric).argmin()
    assert torch.equal(search(x, codebook, metric), expected)
    assert sum(compared) <= 1


def test_magnitudes_that_overflow_or_underflow_float32_squares() -> None:
    torch.manual_seed(0)
    x, codebook = torch.randn(64, 8), torch.randn(32, 8)
    for metric in ("euclidean", "cosine", "dot"):
        expected = distances64(x, codebook, metric).argmin(1)
        for scale in (2.0**90, 2.0**-90) if metric != "cosine" else (2.0**90, 2.0**-20):  # norms count from 1e-12 up
            assert torch.equal(search(x * scale, codebook * scale, metric), expected)


@given(
    st.integers(1, 40),
    st.integers(1, 70),
    st.integers(1, 9),
    st.floats(-1e4, 1e4),
    st.floats(1e-6, 1e3),
    st.integers(0, 999),
)
@settings(max_examples=60, deadline=None)
def test_any_offset_and_scale(n: int, size: int, dim: int, offset: float, scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = offset + scale * torch.randn(n, dim, generator=generator)
    codebook = offset + scale * torch.randn(size, dim, generator=generator)
    assert real_mismatches(x, codebook, search(x, codebook)) == 0


def test_the_bound_holds_for_every_code() -> None:
    """The certificate rests on it: what the product yields is at most the float64 score, which is at most 2·e above."""
    torch.manual_seed(0)
    for data in DATA:
        x, codebook = DATA[data](200, 160, 48)
        codes = prepare(codebook, "euclidean")
        lower = product(codes.columns, load_rows(x[None], codes, Workspace(codes, 200))).double()
        rows, centred = x.double() - codes.shift, codebook.double() - codes.shift
        score = 0.5 * centred.square().sum(1)[:, None] - centred @ rows.T
        error = codes.a * centred.norm(dim=1)[:, None] * (rows.norm(dim=1) + centred.norm(dim=1)[:, None])
        out = (lower == torch.inf).all(1)  # those that stand at a lower index already
        assert all((codebook[: int(k)] == codebook[k]).all(1).any() for k in torch.nonzero(out)[:, 0]), data
        lower, score, error = lower[~out], score[~out], error[~out]
        assert (lower <= score).all(), data
        assert (score <= lower + 2.02 * error + 1e-30).all(), data


@pytest.mark.parametrize("onednn", [False, True])
def test_either_library_makes_the_product(onednn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if onednn and not torch.backends.mkldnn.is_available():
        pytest.skip("this build of torch has no oneDNN")
    monkeypatch.setattr("aevae_fast.portable._product._ONEDNN", onednn)
    torch.manual_seed(0)
    a, b = torch.randn(70, 19), torch.randn(33, 19)
    expected = a.double() @ b.double().T
    assert (product(a, b) - expected).abs().max() <= 19 * 2.0**-24 * (a.abs() @ b.abs().T).max()
    x, codebook = torch.randn(3000, 19), torch.randn(1500, 19)
    assert real_mismatches(x, codebook, search(x, codebook)) == 0


def test_products_are_float32_whatever_the_process_allows() -> None:
    """`medium` lets processors with matrix units take bfloat16 products, which the error bound does not cover."""
    matmul = torch.backends.mkldnn.matmul
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with full_precision(torch.device("cpu")):
            assert matmul.fp32_precision == "ieee"
        assert matmul.fp32_precision == "bf16"
        assert torch.get_float32_matmul_precision() == "medium"
        seen = []
        x = torch.randn(64, 8)
        with pytest.MonkeyPatch.context() as patch:
            module = sys.modules[prepare.__module__]
            patch.setattr(module, "product", lambda a, b: (seen.append(matmul.fp32_precision), product(a, b))[1])
            search(x, x[:32].clone())
        assert seen
        assert set(seen) == {"ieee"}
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("impl", ["portable", "reference"])
@pytest.mark.parametrize("onednn", [False, True])
def test_autocast_touches_no_product(onednn: bool, impl: functional.Impl, monkeypatch: pytest.MonkeyPatch) -> None:
    """Autocast would multiply in bfloat16, in this thread and not in those that the search starts."""
    monkeypatch.setattr("aevae_fast.portable._product._ONEDNN", onednn and torch.backends.mkldnn.is_available())
    torch.manual_seed(0)
    x, codebook = torch.randn(3000, 64), torch.randn(200, 64)

    def everything() -> list[torch.Tensor]:
        found = [functional.nearest_code(x, codebook, metric=metric, impl=impl) for metric in ("cosine", "dot")]
        found += functional.vector_quantize(x, codebook, impl=impl)
        return found + list(functional.codebook_statistics(x, found[0], 200, impl=impl))

    expected = everything()
    with torch.autocast("cpu", torch.bfloat16):
        found = everything()
        assert torch.is_autocast_enabled("cpu")
    assert all(torch.equal(mine, plain) for mine, plain in zip(found, expected, strict=True))


@pytest.mark.parametrize("collapsed", [False, True], ids=["random", "all_codes_equal"])
def test_memory_stays_bounded(collapsed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """No [N, K] tensor: 65536 × 256 rows against 16384 codes would need 4.3 GB. On one thread: the profiler does not
    see what the others allocate."""
    monkeypatch.setattr(sys.modules[nearest_code.__module__], "threads_for", lambda x: 1)
    x, codebook = torch.randn(64 if collapsed else 2048, 256), torch.randn(16384, 256)
    codebook = codebook * (not collapsed)
    with torch.profiler.profile(profile_memory=True) as profile:
        functional.nearest_code(x, codebook)
    live = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    assert 16384 * 258 * 4 < peak < 64e6


def test_a_collapsed_codebook_is_not_compared_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal codes tie for every row near them; the first copy alone competes."""
    torch.manual_seed(0)
    x, codebook = torch.randn(300, 8), torch.randn(1, 8).repeat(200, 1)
    codebook[150:] = torch.randn(50, 8)
    compared, pairs, matrix = [], _resolve._pair_distances, _resolve._distances
    monkeypatch.setattr(_resolve, "_pair_distances", lambda x, c, m: (compared.append(len(x)), pairs(x, c, m))[1])
    monkeypatch.setattr(_resolve, "_distances", lambda x, c, m: (compared.append(len(x)), matrix(x, c, m))[1])
    for metric in ("euclidean", "cosine", "dot"):
        expected = distances64(x, codebook, metric).argmin(1)
        assert torch.equal(search(x, codebook, metric), expected)
    assert sum(compared) < 300


def test_memory_does_not_grow_with_threads() -> None:
    module = sys.modules[nearest_code.__module__]
    usual, taken, sizes = module.Workspace, [], {}
    x, codebook = torch.randn(64, 4), torch.randn(16384, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Workspace", lambda codes, rows: (taken.append(rows), usual(codes, rows))[1])
        for threads in (1, 2, 16):
            taken.clear()
            patch.setattr(module, "threads_for", lambda x, threads=threads: threads)
            search(x, codebook)
            sizes[threads] = threads * taken[0]
    assert sizes[16] <= sizes[2]


def test_precision_is_put_back_by_the_last_thread_that_leaves() -> None:
    matmul, before = torch.backends.mkldnn.matmul, torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        first, second = (full_precision(torch.device("cpu")) for _ in range(2))
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert matmul.fp32_precision == "ieee"
        second.__exit__(None, None, None)
        assert matmul.fp32_precision == "bf16"
    finally:
        torch.set_float32_matmul_precision(before)
