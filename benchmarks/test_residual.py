"""Residual quantizers, a training step and a forward; every provider on the same tensors, in turns."""

from collections.abc import Callable
from typing import Any

import pytest

from . import cases
from .measure import OURS, Measured
from .replay import CLOCK
from .residual_providers import FORWARDS, STEPS
from .timing import ratio

Measure = Callable[[str, cases.ResidualCase], Measured]
CASES = cases.RESIDUAL


def _show(benchmark: Any, result: Measured, provider: str) -> None:
    if provider in result.skipped:
        pytest.skip(result.skipped[provider])
    benchmark.group = f"{result.kind}, {result.case}"
    benchmark.extra_info["ours_over"] = ratio(result.samples[OURS], result.samples[provider])
    CLOCK.play(benchmark, result.samples[provider])


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.parametrize("provider", STEPS)
def test_residual_step(benchmark: Any, measured: Measure, case: cases.ResidualCase, provider: str) -> None:
    _show(benchmark, measured("residual step", case), provider)


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.parametrize("provider", FORWARDS)
def test_residual_forward(benchmark: Any, measured: Measure, case: cases.ResidualCase, provider: str) -> None:
    _show(benchmark, measured("residual forward", case), provider)
