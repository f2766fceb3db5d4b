"""The k nearest codes: which, in what order, how far; in bounded memory."""

import importlib
from typing import Any

import pytest
import torch

from aevae_fast import functional, reference
from tests.exactness import DATA, UNIT, distances64

HOME = importlib.import_module("aevae_fast.portable.nearest_codes")  # the function hides its file


@pytest.mark.parametrize("direct", [False, True], ids=["certified", "direct"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine", "dot"])
@pytest.mark.parametrize("data", DATA)
def test_codes_are_the_nearest_in_order(data: str, metric: str, direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if direct:  # what other devices than a CPU take
        monkeypatch.setattr(HOME, "_certified", HOME._directly)
    torch.manual_seed(0)
    x, codebook = DATA[data](90, 50, 12)
    indices, distances = functional.nearest_codes(x, codebook, 5, metric=metric)
    exact = distances64(x, codebook, metric)
    best = exact.sort(dim=1).values[:, :5]
    chosen = exact.gather(1, indices)
    scale = chosen + best
    if metric != "euclidean":
        largest = 1.0 if metric == "cosine" else codebook.double().norm(dim=1).amax()
        scale = 2 * x.double().norm(dim=1, keepdim=True) * largest
    assert ((chosen - best).abs() <= (12 + 4) * UNIT * scale).all()
    assert all(len(set(row)) == 5 for row in indices.tolist())
    offset, unit = (1.0, x.double().norm(dim=1, keepdim=True)) if metric == "cosine" else (0.0, 1.0)
    assert ((distances - offset - chosen / unit).abs() <= (12 + 8) * UNIT * (scale / unit + offset)).all()
    if metric == "euclidean":
        assert torch.equal(indices[:, 0], functional.nearest_code(x, codebook))


@pytest.mark.parametrize("impl", ["reference", None])
def test_ties_go_to_the_lowest_index(impl: Any) -> None:
    codebook = torch.tensor([[1.0], [-1.0], [3.0]]).repeat(20, 1)
    indices, distances = functional.nearest_codes(torch.zeros(1), codebook, 42, impl=impl)
    assert indices.tolist() == [*(k for k in range(60) if k % 3 < 2), 2, 5]
    assert distances.tolist() == [1.0] * 40 + [9.0] * 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_layouts_dtypes_and_broken_rows(dtype: torch.dtype) -> None:
    x, codebook = torch.randn(2, 6, 3, 4).to(dtype), torch.randn(9, 6)
    x[1, 2, 0, 1] = torch.nan
    indices, distances = functional.nearest_codes(x, codebook, 9, dim=1)
    expected = reference.nearest_codes(x.movedim(1, -1).double(), codebook.double(), 9)
    assert indices.shape == distances.shape == (2, 3, 4, 9)
    assert distances.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert (indices[1, 0, 1] == -1).all()
    assert distances[1, 0, 1].isnan().all()
    assert torch.equal(indices, expected[0])
    torch.testing.assert_close(distances.double(), expected[1], equal_nan=True, rtol=8 * UNIT, atol=0)
    assert functional.nearest_codes(x[:0], codebook, 2, dim=1)[0].shape == (0, 3, 4, 2)


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, codebook = torch.randn(3, 40, 5), torch.randn(30, 5)
    whole = functional.nearest_codes(x, codebook, 4)
    monkeypatch.setattr(HOME, "_SCORES", 7 * 30)
    for mine, theirs in zip(functional.nearest_codes(x, codebook, 4), whole, strict=True):
        assert torch.equal(mine, theirs)


def test_compiles_and_keeps_the_rules_of_an_operation() -> None:
    x, codebook = torch.randn(4, 5, 6), torch.randn(9, 6)
    torch.library.opcheck(torch.ops.aevae_fast.nearest_codes.default, (x, codebook, 3, "euclidean"))
    compiled = torch.compile(functional.nearest_codes, fullgraph=True, backend="aot_eager")
    for mine, theirs in zip(compiled(x, codebook, 3), functional.nearest_codes(x, codebook, 3), strict=True):
        assert torch.equal(mine, theirs)


X, C = torch.randn(5, 4), torch.randn(3, 4)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, r"k must lie in \[1, 3\], .* got 4", lambda: functional.nearest_codes(X, C, 4)),
        (ValueError, r"k must lie in \[1, 3\], .* got 0", lambda: functional.nearest_codes(X, C, 0)),
        (TypeError, "k must be an int; got 1.5", lambda: functional.nearest_codes(X, C, 1.5)),  # type: ignore[arg-type]
        (ValueError, "'triton' has no kernel", lambda: functional.nearest_codes(X, C, 1, impl="triton")),
        (ValueError, "metric must be one of", lambda: functional.nearest_codes(X, C, 1, metric="l1")),
    ],
)
def test_bad_input_is_named(error: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(error, match=message):
        call()
