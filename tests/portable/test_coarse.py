"""The first look in bfloat16 leaves nothing out that is nearest, whatever the product rounds to within its bound."""

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aevae_fast.portable import _coarse
from aevae_fast.portable._product import bfloat16_product, multiplies_bfloat16
from aevae_fast.portable._search import Codes, Workspace, load_rows, prepare, search
from aevae_fast.portable.nearest_code import nearest_code
from aevae_fast.portable.residual_vector_quantize import residual_vector_quantize
from tests.exactness import DATA, distances64, real_mismatches

CPU = torch.device("cpu")


def exact_sums(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a.double() @ b.double().T


def neighbour(value: torch.Tensor, toward: float | torch.Tensor) -> torch.Tensor:
    """float64 → the bfloat16 number beside it, on the side of `toward`; itself where it is one."""
    nearest = value.float().bfloat16()
    other = torch.nextafter(nearest, torch.where(value > nearest.double(), torch.inf, -torch.inf).bfloat16())
    low, high = torch.minimum(nearest, other), torch.maximum(nearest, other)
    exact = (nearest.double() == value) | ~torch.isfinite(value)
    return torch.where(exact, nearest, torch.where(torch.as_tensor(toward) > 0, high, low))


def emulated(direction: str):  # type: ignore[no-untyped-def]
    """A product as wrong as the bound allows: float32 sums off by their full bound, then the farther neighbour."""

    def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(len(b))
        total, terms = exact_sums(a, b), exact_sums(a.abs(), b.abs())
        side = {"up": torch.ones_like(total), "down": -torch.ones_like(total)}.get(
            direction, torch.randint(0, 2, total.shape, generator=generator).double() * 2 - 1
        )
        error = side * a.shape[1] * 2.0**-24 * terms
        return neighbour(total + torch.where(torch.isinf(total), 0.0, error), side)  # infinite: a code that never wins

    return product


@pytest.fixture(params=["processor", "up", "down", "either"])
def forced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every codebook is looked at in bfloat16 first, by the processor or by a product at its worst."""
    if request.param == "processor":
        if not multiplies_bfloat16(CPU):
            pytest.skip("this processor does not multiply bfloat16")
    else:
        monkeypatch.setattr(_coarse, "bfloat16_product", emulated(request.param))
    monkeypatch.setattr(_coarse, "pays", lambda rows, columns: True)
    return request.param


def find(x: torch.Tensor, codebook: torch.Tensor, metric: str = "euclidean") -> torch.Tensor:
    return nearest_code(x[None], codebook, metric)[0]


def block(x: torch.Tensor, codebook: torch.Tensor) -> tuple[torch.Tensor, Codes, Workspace]:
    codes = prepare(codebook, "euclidean", len(x))
    workspace = Workspace(codes, len(x))
    return load_rows(x[None], codes, workspace), codes, workspace


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "dot"])
@pytest.mark.parametrize("data", DATA)
def test_adversarial_sets(data: str, metric: str, forced: str) -> None:
    torch.manual_seed(0)
    x, codebook = DATA[data](400, 300, 24)
    assert real_mismatches(x, codebook, find(x, codebook, metric), metric) == 0


@pytest.mark.parametrize("data", ["normal", "offset_1000", "midway", "duplicated", "tiny_codes"])
def test_what_is_certified_is_the_float64_argmin(data: str, forced: str) -> None:
    """Without what the exact comparison repairs: certified rows alone, several tiles, the last one not full."""
    torch.manual_seed(1)
    x, codebook = DATA[data](300, 2500, 32)
    index, certified = search(*block(x, codebook))
    expected = distances64(x, codebook, "euclidean").argmin(1)
    assert torch.equal(index[certified], expected[certified])
    if data == "normal":
        assert certified.float().mean() > 0.95


@pytest.mark.parametrize("size", [1, 15, 17, 100, 1024, 1025])
@pytest.mark.parametrize("dim", [1, 17, 100])
def test_every_dim_and_size(dim: int, size: int, forced: str) -> None:
    torch.manual_seed(dim * size)
    x, codebook = torch.randn(70, dim), torch.randn(size, dim)
    assert real_mismatches(x, codebook, find(x, codebook)) == 0


@pytest.mark.parametrize("dim", [1, 2, 48])
@pytest.mark.parametrize("data", DATA)
def test_the_bound_holds_for_every_code(data: str, dim: int) -> None:
    """Exact sums of the bfloat16 columns lie below the float64 score by no less than what float32 sums may add. In one
    dimension what rounding takes away points along the code, as the bound assumes."""
    torch.manual_seed(0)
    x, codebook = DATA[data](200, 160, dim)
    codes = prepare(codebook, "euclidean")
    rounded = _coarse.round_codes(codes.columns, codes.norms)
    rows = load_rows(x[None], codes, Workspace(codes, 200))
    low = _coarse._round_rows(rows, _coarse.Buffers(rounded, 200))
    finite = torch.isfinite(rounded).all(1)
    rounded, columns = rounded[finite], codebook[finite[:160]].double() - codes.shift
    lower = exact_sums(rounded, low)
    sums = (rounded.shape[1] + 1) * 2.0**-24 * exact_sums(rounded.abs(), low.abs())
    score = 0.5 * columns.square().sum(1)[:, None] - columns @ (x.double() - codes.shift).T
    assert (lower + sums <= score).all()
    # and is no lower than rounding explains: each operand loses 2⁻⁸ at most, subtracted once more; bounds are raised
    norm, length = columns.norm(dim=1)[:, None], (x.double() - codes.shift).norm(dim=1)
    floor = dim * 2.0**-60 * (norm + length) + 1e-36
    assert (score - lower <= 4.15 * 2.0**-8 * norm * length + 1e-4 * norm.square() + floor).all()


def test_bounds_are_never_rounded_down() -> None:
    value = torch.cat([torch.linspace(1, 2, 100_000) * 2.0**power for power in (-62, 0, 100)])
    assert (_coarse._raised(value).float() >= value).all()


def test_parts_of_the_bias_hold_all_of_it() -> None:
    codes = prepare(torch.randn(500, 24), "euclidean")
    parts = _coarse.round_codes(codes.columns, codes.norms)[:500, 24:27].double().sum(1)
    bias = codes.columns[:500, 24].double()
    assert (parts < bias).all()
    assert (bias - parts <= 60 * 2.0**-24 * codes.norms[:500].double().square() + 2.0**-24 * bias.abs()).all()


@given(
    st.integers(1, 40),
    st.integers(1, 70),
    st.integers(1, 9),
    st.floats(-1e4, 1e4),
    st.floats(1e-6, 1e3),
    st.integers(0, 999),
)
@settings(max_examples=40, deadline=None)
def test_any_offset_and_scale(n: int, size: int, dim: int, offset: float, scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = offset + scale * torch.randn(n, dim, generator=generator)
    codebook = offset + scale * torch.randn(size, dim, generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_coarse, "pays", lambda rows, columns: True)
        patch.setattr(_coarse, "bfloat16_product", emulated("either"))
        assert real_mismatches(x, codebook, find(x, codebook)) == 0


def test_magnitudes_that_overflow_or_underflow(forced: str) -> None:
    torch.manual_seed(0)
    x, codebook = torch.randn(64, 8), torch.randn(200, 8)
    for scale, other in ((2.0**90, 2.0**90), (2.0**-90, 2.0**-90), (2.0**-130, 2.0**-130), (2.0**40, 2.0**-80)):
        rows, codes = x * scale, codebook * other
        assert torch.equal(find(rows, codes), distances64(rows, codes, "euclidean").argmin(1))


def test_not_finite_rows_get_no_code(forced: str) -> None:
    x = torch.randn(600, 8)
    x[5, 2], x[77, 0], x[599, 7] = torch.nan, torch.inf, -torch.inf
    assert (find(x, torch.randn(50, 8)) < 0).nonzero()[:, 0].tolist() == [5, 77, 599]


def test_rows_with_too_much_in_reach_are_left_to_float32(forced: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    codebook = 1e-5 * torch.randn(400, 16)
    codebook[250:] += 100.0  # the shift, a median, is among the others
    codebook[0] = -100.0
    x = torch.cat([torch.full((30, 16), 100.0), torch.full((30, 16), -100.0)]) + torch.randn(60, 16)
    looked, usual = [], _coarse._Look
    monkeypatch.setattr(
        _coarse, "_Look", lambda rows, row, *rest: (looked.append(len(row)), usual(rows, row, *rest))[1]
    )
    index, certified = search(*block(x, codebook))
    assert looked[0] == 60
    assert looked[1] <= 60 * _coarse._CROWD
    assert not certified[:30].any()
    assert certified[30:].all()
    assert (index[30:] == 0).all()
    assert real_mismatches(x, codebook, find(x, codebook)) == 0


def test_residual_stages_look_first_too(forced: str) -> None:
    torch.manual_seed(0)
    x, books = torch.randn(1, 300, 12), torch.randn(1400, 12)
    _, indices, _ = residual_vector_quantize(x, books, [1100, 300], None, None)
    residual = x[0]
    for stage, book in enumerate(books.split([1100, 300])):
        assert real_mismatches(residual, book, indices[0, :, stage]) == 0
        residual = residual - book[indices[0, :, stage]]


def test_only_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(rows: int, size: int, dim: int) -> bool:
        return _coarse.pays(rows, torch.empty(1, 1).expand(size, dim + 2))

    monkeypatch.setattr(_coarse, "multiplies_bfloat16", lambda device: True)
    assert chosen(4096, 16384, 256)
    assert not chosen(16, 16384, 256)
    assert not chosen(16384, 1024, 64)
    assert not chosen(16384, 16384, 8)
    monkeypatch.setattr(_coarse, "multiplies_bfloat16", lambda device: False)
    assert not chosen(4096, 16384, 256)


def test_nothing_is_rounded_for_another_device() -> None:
    assert not multiplies_bfloat16(torch.device("meta"))


def test_the_processor_hands_out_a_neighbour_of_the_exact_sum() -> None:
    """What the certificate assumes of the product: float32 sums, rounded once, to either side."""
    if not multiplies_bfloat16(CPU):
        pytest.skip("this processor does not multiply bfloat16")
    torch.manual_seed(0)
    for m, n, dim in ((1024, 512, 261), (1024, 37, 773), (48, 1, 13), (1024, 512, 2053)):
        a, b = torch.randn(m, dim).bfloat16(), torch.randn(n, dim).bfloat16()
        total, slack = exact_sums(a, b), dim * 2.0**-24 * exact_sums(a.abs(), b.abs())
        found = bfloat16_product(a, b).double()
        assert (found >= neighbour(total - slack, -1.0).double()).all()
        assert (found <= neighbour(total + slack, 1.0).double()).all()


@pytest.mark.parametrize("precision", ["highest", "medium"])
@pytest.mark.parametrize("autocast", [False, True])
def test_no_setting_of_the_process_is_changed(precision: str, autocast: bool, forced: str) -> None:
    matmul, before = torch.backends.mkldnn.matmul, torch.get_float32_matmul_precision()
    torch.manual_seed(0)
    x, codebook = torch.randn(1500, 40), torch.randn(1200, 40)
    expected = find(x, codebook)
    try:
        torch.set_float32_matmul_precision(precision)
        allowed, threads, seen = matmul.fp32_precision, torch.get_num_threads(), []
        with pytest.MonkeyPatch.context() as patch:
            product = _coarse.bfloat16_product
            patch.setattr(
                _coarse, "bfloat16_product", lambda a, b: (seen.append(matmul.fp32_precision), product(a, b))[1]
            )
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                assert torch.equal(find(x, codebook), expected)
        assert seen
        assert "bf16" not in seen
        assert (matmul.fp32_precision, torch.get_num_threads()) == (allowed, threads)
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)


def test_memory_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    if not multiplies_bfloat16(CPU):
        pytest.skip("this processor does not multiply bfloat16")
    monkeypatch.setattr(sys.modules[nearest_code.__module__], "threads_for", lambda x: 1)
    x, codebook = torch.randn(2048, 256), torch.randn(16384, 256)
    codes = prepare(codebook, "euclidean", len(x))
    assert codes.rounded is not None
    with torch.profiler.profile(profile_memory=True) as profile:
        find(x, codebook)
    live = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    assert 16384 * (258 * 4 + 261 * 2) < peak < 64e6
