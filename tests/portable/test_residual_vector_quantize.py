"""Blocks of rows through all stages: whatever the blocks, the threads and what is asked for, the same numbers."""

import sys

import pytest
import torch
from torch import Tensor

from aevae_fast import portable
from aevae_fast.portable import nearest_code

HOME = sys.modules["aevae_fast.portable.residual_vector_quantize"]
SIZES = [40, 1, 1100]  # few codes, one, and more than a tile


def draw(n: int = 3000, dim: int = 12) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, n // 2, dim), torch.randn(sum(SIZES), dim) * 0.5


def in_turn(x: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor]:
    """Stage after stage over all rows, each by one search."""
    residual, total, indices = x.float(), torch.zeros_like(x, dtype=torch.float32), []
    for codes in codebooks.split(SIZES):
        chosen = nearest_code(residual, codes, "euclidean")
        residual, total = residual - codes[chosen], total + codes[chosen]
        indices.append(chosen)
    return total.to(x.dtype), torch.stack(indices, -1)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("rows", [1, 7, 256, 4096])
def test_any_blocks_and_threads_give_what_stage_after_stage_gives(
    rows: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, codebooks = draw(120 if rows == 1 else 3000)
    expected = in_turn(x, codebooks)
    monkeypatch.setattr(HOME, "threads_for", lambda x: threads)
    monkeypatch.setattr(HOME, "_LEAST", rows)
    monkeypatch.setattr(HOME, "_MOST", rows)
    quantized, indices, errors = portable.residual_vector_quantize(x, codebooks, SIZES, None, None)
    assert torch.equal(quantized, expected[0])
    assert torch.equal(indices, expected[1])
    torch.testing.assert_close(errors[-1], (x - quantized).square().sum())


def test_masked_rows_are_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    x, codebooks = draw()
    mask = torch.rand(x.shape[:2]) > 0.6
    searched, usual = [], HOME.search
    monkeypatch.setattr(HOME, "search", lambda rows, *rest: (searched.append(len(rows)), usual(rows, *rest))[1])
    quantized, indices, _ = portable.residual_vector_quantize(x, codebooks, SIZES, None, mask)
    assert sum(searched) == 3 * int(mask.sum())
    whole = in_turn(x, codebooks)
    assert torch.equal(quantized, whole[0].where(mask[..., None], 0.0))
    assert torch.equal(indices, whole[1].where(mask[..., None], -1))


def test_stages_that_are_not_active_are_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    x, codebooks = draw()
    prepared, usual = [], HOME.prepare
    monkeypatch.setattr(HOME, "prepare", lambda book, *rest: (prepared.append(len(book)), usual(book, *rest))[1])
    for active, sizes in ((2, SIZES[:2]), (9, SIZES), (-1, [])):
        prepared.clear()
        portable.residual_vector_quantize(x, codebooks, SIZES, torch.tensor(active), None)
        assert prepared == sizes


def test_the_gradient_where_some_stages_were_not_used() -> None:
    """Row by row, from its formula."""
    x, codebooks = draw(60)
    grad, scales = torch.randn_like(x), torch.tensor([0.3, 0.0, -2.0])
    indices = torch.stack([torch.randint(-1, size, x.shape[:2]) for size in SIZES], -1)
    indices[0, :10] = -1
    found = portable.residual_vector_quantize_backward(grad, x, codebooks, SIZES, indices, scales)
    for b, s in torch.cartesian_prod(torch.arange(2), torch.arange(30)).tolist():
        left, expected = x[b, s].double(), grad[b, s].double()
        for codes, scale, index in zip(codebooks.split(SIZES), scales, indices[b, s].tolist(), strict=True):
            if index >= 0:
                left = left - codes[index]
                expected = expected + scale * left
        expected = expected * (indices[b, s] >= 0).any()
        torch.testing.assert_close(found[b, s].double(), expected, rtol=1e-5, atol=1e-5)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward: what comes out, the prepared codes and one thread's buffers. Nothing of N·K, nor a residual of N·D."""
    monkeypatch.setattr(HOME, "threads_for", lambda x: 1)
    x, codebooks, sizes = torch.randn(1, 40_000, 32), torch.randn(4 * 256, 32), [256] * 4
    with torch.profiler.profile(profile_memory=True) as profile:
        quantized, indices, _ = portable.residual_vector_quantize(x, codebooks, sizes, None, None)
    live = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    outputs = quantized.nbytes + indices.nbytes
    assert outputs < peak < outputs + x.nbytes
