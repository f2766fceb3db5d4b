"""Residual quantizers and searches by cosine in the suite, once, on tiny sizes: what is timed does find the codes."""

import pytest
import torch

from aevae_fast import reference
from benchmarks import cosine_providers, residual_providers
from benchmarks.cases import Case, ResidualCase, parse
from benchmarks.report import render
from benchmarks.roofline import residual_step_work, residual_work

CASE = ResidualCase(300, 8, 50, 3)
CPU = torch.device("cpu")


def excess_distance(x: torch.Tensor, codebooks: torch.Tensor, indices: torch.Tensor) -> float:
    """How much farther than the nearest code the chosen ones are, at most, for the residuals that they met."""
    left, excess = x.double(), 0.0
    for codes, chosen in zip(codebooks.double(), indices.unbind(1), strict=True):
        best = codes[reference.nearest_code(left, codes)]
        found = ((left - codes[chosen]).square() - (left - best).square()).sum(1)
        left, excess = left - codes[chosen], max(excess, float(found.max()))
    return excess


@pytest.mark.parametrize("name", residual_providers.STEPS)
def test_steps_move_every_codebook_once_a_call(name: str) -> None:
    provider = residual_providers.STEPS[name]
    if why := provider.obstacle(CASE, "cpu"):
        pytest.skip(why)
    x, codebooks = CASE.draw(CPU)
    step, moved = provider.prepare(x, codebooks), []
    indices = step()
    assert indices.shape == (CASE.rows, CASE.stages)
    assert excess_distance(x, codebooks, indices) <= 1e-4
    for codes, (counts, sums) in zip(
        codebooks, reference.residual_statistics(x, list(codebooks), indices), strict=True
    ):
        state = (codes, torch.ones(len(codes)), codes)
        moved.append(reference.ema_update(*state, counts, sums, decay=0.99, eps=1e-5)[0])
    assert excess_distance(x, torch.stack(moved), step()) <= 1e-4


@pytest.mark.parametrize("name", residual_providers.FORWARDS)
def test_forwards_find_the_codes_and_move_none(name: str) -> None:
    provider = residual_providers.FORWARDS[name]
    if why := provider.obstacle(CASE, "cpu"):
        pytest.skip(why)
    x, codebooks = CASE.draw(CPU)
    forward = provider.prepare(x, codebooks)
    for _ in range(2):
        assert excess_distance(x, codebooks, forward()) <= 1e-4
    residual_providers.refuse_wrong(forward(), x, codebooks)
    with pytest.raises(ArithmeticError, match="wrong codes in stage 0"):
        residual_providers.refuse_wrong((forward() + 1) % CASE.codes, x, codebooks)


@pytest.mark.parametrize("name", cosine_providers.PROVIDERS)
def test_searches_by_cosine(name: str) -> None:
    provider, case = cosine_providers.PROVIDERS[name], Case(300, 8, 50)
    if why := provider.obstacle(case, "cpu"):
        pytest.skip(why)
    x, codebook = case.draw(CPU)
    found = provider.prepare(x, codebook)()
    cosine = torch.nn.functional.normalize(x, dim=1) @ torch.nn.functional.normalize(codebook, dim=1).T
    assert (cosine.amax(1) - cosine.gather(1, found[:, None])[:, 0]).max() <= 1e-5
    with pytest.raises(ArithmeticError, match="wrong codes"):
        cosine_providers.refuse_wrong((found + 1) % 50, x, codebook)


def test_a_case_is_read_back_and_shown() -> None:
    assert parse(str(CASE)) == CASE
    times = {"median": 1.5, "ours_over": 1.0}
    entry = {"kind": "residual step", **CASE._asdict(), "unit": "ms", "providers": {"aevae_fast": times}}
    text = render([{"device": "a", "type": "cpu", "versions": {}, "commit": "0123456789abcdef", "cases": [entry]}])
    assert "| N, D, K, Q | input | aevae_fast |" in text
    assert "| 300, 8, 50, 3 | fp32 | **1.50** |" in text


def test_a_step_needs_more_than_its_forward() -> None:
    pairs = zip(residual_step_work(CASE), residual_work(CASE), strict=True)
    assert all(step >= forward for step, forward in pairs)
