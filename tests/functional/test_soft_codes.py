"""Soft assignments: against autograd through the whole [N, K] matrix in float64."""

import importlib
from typing import Any

import pytest
import torch
from torch import Tensor

from aevae_fast import functional

HOME = importlib.import_module("aevae_fast.portable.soft_codes")


def _soft(x: Tensor, codebook: Tensor, rows: dict[str, Tensor], **options: Any) -> Tensor:
    return functional.soft_straight_through(x, codebook, rows["indices"], **options).nan_to_num()


def _entropy(x: Tensor, codebook: Tensor, rows: dict[str, Tensor], **options: Any) -> Tensor:
    return functional.code_cross_entropy(x, codebook, rows["indices"], **options)


def _usage(x: Tensor, codebook: Tensor, rows: dict[str, Tensor], **options: Any) -> Tensor:
    return functional.mean_assignment(x, codebook, rows["mask"], **options)


CALLS = {"soft": _soft, "cross_entropy": _entropy, "usage": _usage}


def _run(call: Any, x: Tensor, codebook: Tensor, rows: dict[str, Tensor], **options: Any) -> list[Tensor]:
    """The value, and the gradients where a fixed random gradient comes in."""
    x, codebook = x.detach().requires_grad_(), codebook.detach().requires_grad_()
    value = call(x, codebook, rows, **options)
    weight = torch.randn(value.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    value.backward(weight.to(value.dtype))
    assert x.grad is not None
    assert codebook.grad is not None
    return [value.detach(), x.grad, codebook.grad]


def _rows(shape: tuple[int, ...], size: int) -> dict[str, Tensor]:
    return {"indices": torch.randint(-1, size, shape), "mask": torch.rand(shape) > 0.3}


@pytest.mark.parametrize(
    ("metric", "offset", "dtype"),
    [
        ("euclidean", 0, torch.float32),
        ("euclidean", 100, torch.float32),
        ("euclidean", 0, torch.bfloat16),
        ("dot", 0, torch.float32),
        ("dot", 0, torch.bfloat16),
    ],
)
@pytest.mark.parametrize("name", CALLS)
def test_values_and_gradients(
    name: str, metric: str, offset: float, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HOME, "_SCORES", 7 * 13)  # several blocks, the last one short
    torch.manual_seed(0)
    x, codebook = offset + torch.randn(3, 6, 10), offset + torch.randn(13, 6)
    x, rows = x.to(dtype), _rows((3, 10), 13)
    options = {"metric": metric, "temperature": 0.7, "dim": 1}
    exact = _run(CALLS[name], x.double(), codebook.double(), rows, **options)
    plain = _run(CALLS[name], x, codebook, rows, impl="reference", **options)
    for mine, reference, truth in zip(_run(CALLS[name], x, codebook, rows, **options), plain, exact, strict=True):
        assert mine.dtype == reference.dtype
        limit = (reference.double() - truth).abs().max() + 16 * torch.finfo(mine.dtype).eps * truth.abs().max()
        assert (mine.double() - truth).abs().max() <= limit


def test_a_row_upon_a_code_has_finite_gradients() -> None:
    codebook = torch.randn(5, 3)
    rows = {"indices": torch.arange(5), "mask": torch.ones(5, dtype=torch.bool)}
    for call in CALLS.values():
        assert all(part.isfinite().all() for part in _run(call, codebook.clone(), codebook, rows))


def test_rows_without_a_code_have_no_gradient_whatever_they_hold() -> None:
    x, codebook = torch.randn(6, 3), torch.randn(5, 3)
    x[2] = torch.nan
    rows = {"indices": torch.tensor([0, 1, -1, 2, 3, 4]), "mask": torch.arange(6) != 2}
    for call in CALLS.values():
        value, grad_x, grad_codebook = _run(call, x, codebook, rows)
        assert value.isfinite().all()
        assert not grad_x[2].any()
        assert grad_codebook.isfinite().all()


@pytest.mark.parametrize("metric", ["euclidean", "dot"])
def test_codes_are_drawn_with_the_odds_of_the_softmax(metric: str) -> None:
    torch.manual_seed(0)
    x, codebook, draws = torch.randn(2, 3), torch.randn(4, 3), 20_000
    drawn = functional.sample_codes(x.repeat(draws, 1), codebook, 2, metric=metric, temperature=0.5)
    assert (drawn[:, 0] != drawn[:, 1]).all()
    for row in range(2):
        p = functional.mean_assignment(x[row], codebook, metric=metric, temperature=0.5).double()
        pair = p[:, None] * p / (1 - p[:, None])  # the second without the first
        seen = torch.zeros(4, 4, dtype=torch.float64)
        seen.index_put_(tuple(drawn[row::2].T), torch.ones(draws, dtype=torch.float64), accumulate=True)
        spread = (pair.fill_diagonal_(0) * draws).sqrt() + 1
        assert ((seen - draws * pair).abs() < 5 * spread).all()


def test_draws_follow_the_generator_and_mark_broken_rows() -> None:
    x, codebook = torch.randn(4, 6, 5), torch.randn(9, 6)
    x[1, 3, 2] = torch.inf
    torch.manual_seed(3)
    first = functional.sample_codes(x, codebook, dim=1)
    second = functional.sample_codes(x, codebook, dim=1)
    torch.manual_seed(3)
    assert first.shape == (4, 5, 1)
    assert torch.equal(functional.sample_codes(x, codebook, dim=1), first)
    assert not torch.equal(first, second)
    assert first[1, 2] == -1
    assert (first == -1).sum() == 1


@pytest.mark.parametrize("name", CALLS)
def test_compiles_for_any_number_of_rows(name: str) -> None:
    torch._dynamo.reset()
    codebook = torch.randn(13, 6)
    compiled = torch.compile(CALLS[name], fullgraph=True, backend="aot_eager", dynamic=True)
    for n in (8, 11, 30):
        x, rows = torch.randn(n, 6), _rows((n,), 13)
        with torch.compiler.set_stance("default" if n == 8 else "fail_on_recompile"):
            mine = _run(compiled, x, codebook, rows)
        for part, expected in zip(mine, _run(CALLS[name], x, codebook, rows), strict=True):
            torch.testing.assert_close(part, expected)


def test_operations_keep_the_rules() -> None:
    x, codebook, rows = torch.randn(2, 5, 6), torch.randn(13, 6), _rows((2, 5), 13)
    ops = torch.ops.aevae_fast
    tail = ("euclidean", 2.0)
    cases = [
        (ops.soft_codes_backward, (torch.randn_like(x), x, codebook, rows["indices"])),
        (ops.code_cross_entropy, (x, codebook, rows["indices"])),
        (ops.code_cross_entropy_backward, (torch.tensor(0.5), x, codebook, rows["indices"])),
        (ops.total_assignment, (x, codebook, rows["mask"])),
        (ops.total_assignment_backward, (torch.randn(13), x, codebook, rows["mask"])),
    ]
    for op, args in cases:
        torch.library.opcheck(op.default, (*args, *tail))
    found = torch.library.opcheck(ops.sample_codes.default, (x, codebook, 2, *tail), test_utils="test_schema")
    assert found == {"test_schema": "SUCCESS"}


X, C, T = torch.randn(5, 4), torch.randn(3, 4), torch.zeros(5, dtype=torch.int64)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, r"targets must lie in \[-1, 2\]; got 7", lambda: functional.code_cross_entropy(X, C, T + 7)),
        (ValueError, r"temperature must be above 0; got 0", lambda: functional.sample_codes(X, C, temperature=0)),
        (ValueError, r"k must lie in \[1, 3\], .* got 4", lambda: functional.sample_codes(X, C, 4)),
        (TypeError, "indices must be torch.int64", lambda: functional.soft_straight_through(X, C, X[:, 0])),
        (ValueError, r"mask must have shape \(5,\)", lambda: functional.mean_assignment(X, C, T[:2].bool())),
        (ValueError, "metric must be one of 'euclid", lambda: functional.mean_assignment(X, C, metric="cosine")),
    ],
)
def test_bad_input_is_named(error: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(error, match=message):
        call()
