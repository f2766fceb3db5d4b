"""The arithmetic of the GPU's search, emulated, and float64's judgement of it."""

import dataclasses
from functools import partial
from pathlib import Path

import pytest
import torch

from aevae_fast.cli._verdict import wrong_indices
from aevae_fast.functional import nearest_code
from aevae_fast.kernels.code_columns import accumulation_bound
from aevae_fast.kernels.configuration import search_config
from aevae_fast.reference import nearest_code as reference
from benchmarks.certificate import kinds
from benchmarks.certificate.__main__ import certify
from benchmarks.certificate.bound import error_share
from benchmarks.certificate.codes import prepare
from benchmarks.certificate.kinds import drawn
from benchmarks.certificate.products import float32_product, truncating_product
from benchmarks.certificate.rescan import search
from benchmarks.certificate.scheme import scheme_for
from benchmarks.certificate.shares import measure
from benchmarks.certificate.sweep import CERTIFIED, FULL, LIGHT, VERDICTS, WIDE, sweep
from benchmarks.certificate.truth import Truth
from tests.exactness import hard_product

# D and parts of every product that the search takes
PRODUCTS = [(8, 3), (16, 3), (32, 3), (64, 3), (64, 1), (128, 1), (256, 1)]


def product(kind: str, dim: int) -> kinds.Case:
    g = torch.Generator().manual_seed(0)
    x, c = torch.randn(24, dim, generator=g), torch.randn(40, dim, generator=g)
    x, c = hard_product(kind, x, c)
    if kind == "large":  # as far out as rows and codes may be, beside codes near the centre that set the scale
        far = 4000 / dim**0.5
        x, c[::4] = far * x, far * c[::4]
    elif kind == "swallowed":  # each product is just less than what the sum keeps, and cut whole
        x[:], c[:] = 2.0**-11 * (1 - 2.0**-8), 2.0**-12 * (1 - 2.0**-8)
        x[:, 0] = c[:, 0] = 1.0
    return x, c


@pytest.mark.parametrize("width", [4, 16])
@pytest.mark.parametrize(("dim", "parts"), PRODUCTS)
@pytest.mark.parametrize("kind", ["random", "aligned", "one sign", "cancelling", "large", "swallowed"])
@pytest.mark.parametrize("metric", ["euclidean", "dot"])
def test_the_product_stays_within_its_bound_on_the_coarsest_tensor_cores(
    metric: str, kind: str, dim: int, parts: int, width: int
) -> None:
    x, codebook = product(kind, dim)
    codes = prepare(codebook, metric, scheme_for(dim, parts))
    assert 0 < error_share(x, codes, partial(truncating_product, width=width)) < 1


def test_truncation_is_what_it_says() -> None:
    ones, fine = torch.ones(1, 16), torch.full((1, 16), 2.0**-25)
    fine[0, 0] = 1.0
    assert float32_product(fine, ones).item() > 1  # together they count
    assert truncating_product(fine, ones).item() == 1  # each is cut
    g = torch.Generator().manual_seed(0)
    codes, rows = (torch.randn(9, 64, generator=g).half().float() for _ in range(2))
    exact = codes.double() @ rows.double().T
    error = truncating_product(codes, rows) - exact
    assert 0 < error.abs().max() < 64 * 2.0**-23 * exact.abs().max() * 4


@pytest.mark.parametrize(("dim", "factor"), [(64, 0.05), (256, 0.05)])
def test_a_shrunk_bound_is_violated(dim: int, factor: float) -> None:
    x, codebook, _ = drawn("near ties", 64, 256, dim)
    shrunk = dataclasses.replace(scheme_for(dim), bound_factor=factor)
    assert error_share(x, prepare(codebook, "euclidean", shrunk)) > 1
    assert error_share(x, prepare(codebook, "euclidean", scheme_for(dim))) < 1


@pytest.mark.parametrize(("dim", "size"), [(4, 64), (64, 512)])
def test_without_bounds_indices_are_wrong(dim: int, size: int) -> None:
    x, codebook, _ = drawn("near ties", 2048, size, dim)
    blind = dataclasses.replace(scheme_for(dim), bound_factor=0.0)
    assert Truth(codebook, "euclidean").judge(x, search(x, prepare(codebook, "euclidean", blind)).code)[0].wrong


@pytest.mark.parametrize(("dim", "size"), [(3, 40), (8, 700), (40, 300), (144, 2048)])
@pytest.mark.parametrize("name", kinds.KINDS)
def test_no_index_is_wrong(name: str, dim: int, size: int) -> None:
    x, codebook, metric = drawn(name, 500, size, dim)
    found = search(x, prepare(codebook, metric, scheme_for(dim)))
    cpu = nearest_code(x, codebook, metric=metric, impl="portable")
    ours, theirs = Truth(codebook, metric).judge(x, found.code, cpu)
    assert (ours.wrong, theirs.wrong, theirs.blind) == (0, 0, 0)
    assert name == "extreme" or ours.blind <= 64  # rows of the outlier's size
    assert ((found.kind == CERTIFIED) == (found.compared == 0)).all()
    assert (found.compared <= size).all()


@pytest.mark.parametrize("dim", [8, 64])
def test_no_index_is_wrong_on_the_coarsest_tensor_cores(dim: int) -> None:
    x, codebook, _ = drawn("near ties", 96, 128, dim)
    codes = prepare(codebook, "euclidean", scheme_for(dim))
    found = search(x, codes, truncating_product)
    assert Truth(codebook, "euclidean").judge(x, found.code)[0].wrong == 0
    assert (found.kind == CERTIFIED).any()
    assert (found.kind == LIGHT).any()


def test_candidates_of_each_verdict() -> None:
    g = torch.Generator().manual_seed(0)
    codebook = torch.randn(1024, 64, generator=g)
    codebook[5::19] = codebook[5].clone()  # everywhere
    for code, copies in (
        (2, [900]),  # another slot
        (3, [3 + 512]),  # the same slot of another tile
        (16, [18, 20, 22, 80, 82, 84]),  # seven slots
        (26, [28, 30, 88, 90, 92]),  # six
    ):
        codebook[copies] = codebook[code].clone()
    x = codebook[[1, 2, 3, 16, 26, 5, 6]] + 0.01
    x[6] *= 1e9
    codes = prepare(codebook, "euclidean", scheme_for(64))
    found = sweep(x, codes)
    assert found.kind.tolist() == [CERTIFIED, LIGHT, WIDE, WIDE, LIGHT, WIDE, FULL]
    assert found.code[0] == 1
    assert found.candidates.sum(0).tolist() == [0, 2, 4, 28, 6, 64, 64]  # 4 tiles of 16 groups
    assert found.again.tolist() == [False, True, True, True, True, True, False]
    assert search(x, codes).code[:6].tolist() == [1, 2, 3, 16, 26, 5]


@pytest.mark.parametrize("dim", [1, 8, 16, 24, 32, 33, 64, 65, 80, 128, 200, 256, 300])
def test_products_are_those_of_the_search(dim: int) -> None:
    scheme, config = scheme_for(dim), search_config(dim, "sm_90")
    while scheme or config:
        assert (scheme.parts, scheme.segment, scheme.block_k) == (config.parts, config.segment, config.block_k)
        assert (2 * scheme.steps, scheme.slots) == (config.group, config.slots)
        assert scheme.kappa == accumulation_bound(config)
        scheme, config = scheme.again, config.again


@pytest.mark.parametrize("dim", [33, 64])
def test_the_second_sweep_decides_what_the_first_left_open(dim: int) -> None:
    x, codebook, metric = drawn("trained", 1024, 512, dim)
    x[:3] *= 1e9
    codes = prepare(codebook, metric, scheme_for(dim))
    found, alone = search(x, codes), search(x, prepare(codebook, metric, scheme_for(dim, 1)))
    assert torch.equal(found.first, alone.kind)
    assert (found.kind[:3] == FULL).all()
    assert not found.again[:3].any()
    assert torch.equal(found.again[3:], found.first[3:] != CERTIFIED)
    assert (found.kind[~found.again] == found.first[~found.again]).all()
    assert (found.kind[found.again] == CERTIFIED).sum() > 0.2 * found.again.sum() > 20
    assert found.compared.sum() < alone.compared.sum()
    assert Truth(codebook, metric).judge(x, found.code)[0].wrong == 0


def test_a_row_beyond_the_scale_of_the_codes_is_compared_with_all() -> None:
    codebook = 1e-30 * torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    codebook[33] = torch.tensor([1e10, 0, 0, 0])  # infinite once scaled
    found = search(codebook[[33, 1]], prepare(codebook, "euclidean", scheme_for(4)))
    assert found.code.tolist() == [33, 1]
    assert found.kind[0] == FULL


def test_truth_agrees_with_the_verdict_of_check() -> None:
    for name in ("near ties", "duplicated", "near ties, cosine", "near ties, dot"):
        x, codebook, metric = drawn(name, 400, 50, 5)
        best = reference(x.double(), codebook.double(), metric)
        planted = best.clone()
        planted[::10] = torch.arange(40) + 10
        wrong = wrong_indices(x, codebook, planted, best, metric)
        right, judged = Truth(codebook, metric).judge(x, best, planted)
        assert (right.wrong, right.worst) == (0, 0.0) or metric == "cosine"  # which reference normalizes otherwise
        assert judged.wrong == wrong.sum() > 20
        assert judged.worst > 1


def test_a_later_copy_of_a_code_is_wrong() -> None:
    codebook = torch.tensor([[0.0], [1.0], [0.0]])
    judged = Truth(codebook, "euclidean").judge(torch.zeros(2, 1), torch.tensor([0, 2]))
    assert judged[0].wrong == 1


def test_shares_by_data_and_product() -> None:
    x, codebook, _ = drawn("normal", 512, 512, 64)
    half, bfloat = (measure(x, codebook, scheme_for(64, 1, dtype)) for dtype in (torch.float16, torch.bfloat16))
    assert half["certified"] > 0.9 > bfloat["certified"]
    assert sum(half[name] for name in VERDICTS) == pytest.approx(1)
    assert half["codes"] < bfloat["codes"]
    x, codebook = kinds.two_clusters(torch.Generator().manual_seed(0), 512, 512, 64, width=1e-5)
    assert measure(x, codebook, scheme_for(64))["full"] > 0.4
    x, codebook = kinds.sample_apart(torch.Generator().manual_seed(0), 512, 512, 64)
    assert measure(x, codebook, scheme_for(64))["codes"] > 500


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    state.write_text('{"batches": 1000, "all": {}, "kinds": {}}')
    first = certify(1, state)
    assert first["batches"] == 1001
    again = certify(first["all"]["rows"] + 1, state)
    assert again["batches"] == 1002
    assert again["all"]["rows"] == sum(kind["rows"] for kind in again["kinds"].values()) > first["all"]["rows"]
    assert again["all"]["narrowed"] == 0
    assert again["all"]["gpu"]["wrong"] == again["all"]["cpu"]["wrong"] == 0
