"""Nearest code along N, D and K, for the plots: some providers on the same tensors, in turns, more briefly."""

from collections.abc import Callable
from typing import Any

import pytest

from . import cases
from .measure import OURS, Measured
from .replay import CLOCK
from .search_providers import SWEEP
from .timing import ratio

Measure = Callable[[str, cases.Case], Measured]
CASES = cases.SWEEP


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.parametrize("provider", SWEEP)
def test_sweep(benchmark: Any, measured: Measure, case: cases.Case, provider: str) -> None:
    result = measured("sweep", case)
    if provider in result.skipped:
        pytest.skip(result.skipped[provider])
    benchmark.group = f"{result.kind}, {case}"
    benchmark.extra_info["ours_over"] = ratio(result.samples[OURS], result.samples[provider])
    CLOCK.play(benchmark, result.samples[provider])
