"""Statistics of residuals: the call, and the leaves whose gradients they become."""

import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from aevae_fast import functional, reference

from .test_residual_vector_quantize import SIZES, draw_codebooks
from .test_vector_quantize import DTYPES, LAYOUTS

Leaves = list[tuple[Tensor, Tensor]]


def make_leaves(codebooks: list[Tensor]) -> Leaves:
    zero = torch.zeros(())
    return [
        (zero.expand(len(codes)).requires_grad_(), zero.expand(codes.shape).requires_grad_()) for codes in codebooks
    ]


def assert_same(leaves: Leaves, expected: Leaves) -> None:
    for pair, known in zip(leaves, expected, strict=True):
        assert torch.equal(pair[0].grad, known[0])
        torch.testing.assert_close(pair[1].grad, known[1])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_matches_the_reference(layout: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    make, dim = LAYOUTS[layout]
    x, codebooks = make().to(dtype), draw_codebooks()
    indices = torch.stack([torch.randint(-1, size, x.movedim(dim, -1).shape[:-1]) for size in SIZES], -1)
    ours = functional.residual_statistics(x, codebooks, indices, dim=dim)
    exact = reference.residual_statistics(x.double().movedim(dim, -1), [c.double() for c in codebooks], indices)
    same = functional.residual_statistics(x, codebooks, indices, dim=dim, impl="reference")
    for mine, truth, theirs in zip(ours, exact, same, strict=True):
        assert torch.equal(mine[0].double(), truth[0])
        rounding = 4 * torch.finfo(torch.float32).eps * truth[1].abs().amax()
        assert (mine[1] - truth[1]).abs().amax() <= (theirs[1] - truth[1]).abs().amax() + rounding


@pytest.mark.parametrize("impl", [None, "reference"])
def test_they_travel_as_gradients_and_add_up(impl: Any) -> None:
    torch.manual_seed(0)
    x, codebooks = torch.randn(60, 6, requires_grad=True), draw_codebooks()
    leaves = make_leaves(codebooks)
    for part in x.split(20):
        quantized, _, losses = functional.residual_vector_quantize(part, codebooks, statistics=leaves, impl=impl)
        (1e-3 * quantized.sum() + 5 * losses.sum()).backward()
    indices = functional.residual_vector_quantize(x, codebooks)[1]
    assert_same(leaves, functional.residual_statistics(x, codebooks, indices))


def test_beside_a_codebook_that_learns_they_are_the_same() -> None:
    torch.manual_seed(0)
    x, codebooks = torch.randn(60, 6, requires_grad=True), draw_codebooks()
    expected = functional.residual_statistics(x, codebooks, functional.residual_vector_quantize(x, codebooks)[1])
    leaves = make_leaves(codebooks)
    learnt = [codes.requires_grad_() for codes in codebooks]
    functional.residual_vector_quantize(x, learnt, statistics=leaves)[2].sum().backward()
    assert_same(leaves, expected)


@pytest.mark.parametrize("impl", [None, "reference"])
def test_one_pair_for_all_stages_gets_their_sum(impl: Any) -> None:
    torch.manual_seed(0)
    x, codes = torch.randn(60, 6, requires_grad=True), torch.randn(9, 6)
    (pair,) = make_leaves([codes])
    args = (x, [codes] * 3)
    _, indices, losses = functional.residual_vector_quantize(*args, statistics=[pair] * 3, impl=impl)
    losses.sum().backward()
    found = functional.residual_statistics(*args, indices)
    assert_same([pair], [(sum(counts for counts, _ in found), sum(sums for _, sums in found))])


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_takes_them_once(reentrant: bool) -> None:
    torch.manual_seed(0)
    x, codebooks = torch.randn(60, 6, requires_grad=True), draw_codebooks()
    leaves = make_leaves(codebooks)

    def call(x: Tensor) -> tuple[Tensor, ...]:
        return functional.residual_vector_quantize(x, codebooks, statistics=leaves)

    quantized, indices, losses = checkpoint(call, x, use_reentrant=reentrant)
    (quantized.sum() + losses.sum()).backward()
    assert_same(leaves, functional.residual_statistics(x, codebooks, indices))


def test_skipped_rows_and_stages_stay_out() -> None:
    torch.manual_seed(0)
    x, codebooks = torch.randn(60, 6), draw_codebooks()
    x[5], x[7] = torch.nan, torch.inf
    x.requires_grad_()
    leaves, mask = make_leaves(codebooks), torch.rand(60) > 0.4
    args = (x, codebooks)
    losses = functional.residual_vector_quantize(*args, statistics=leaves, mask=mask, active=torch.tensor(2))[2]
    losses.sum().backward()
    counts = [int(pair[0].grad.sum()) for pair in leaves if pair[0].grad is not None]
    kept = int((mask & x.isfinite().all(1)).sum())
    assert counts == [kept, kept, 0]
    assert all(pair[1].grad is not None and pair[1].grad.isfinite().all() for pair in leaves)


def test_sums_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads share columns, not rows."""
    torch.manual_seed(0)
    x, codebooks = torch.randn(1, 5000, 40), torch.randn(60, 40)
    indices = torch.randint(30, (1, 5000, 2))
    home = sys.modules["aevae_fast.portable.residual_vector_quantize"]
    found = []
    for threads in (1, 2, 7):
        monkeypatch.setattr(home, "threads_for", lambda x, threads=threads: threads)
        found.append(home.residual_statistics(x, codebooks, [30, 30], indices, True))
    for counts, sums in found[1:]:
        assert torch.equal(counts, found[0][0])
        assert torch.equal(sums, found[0][1])
