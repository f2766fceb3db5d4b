"""Nearest code by cosine: every provider on the same tensors, in turns."""

from collections.abc import Callable
from typing import Any

import pytest

from . import cases
from .cosine_providers import PROVIDERS
from .measure import OURS, Measured
from .replay import CLOCK
from .timing import ratio

Measure = Callable[[str, cases.Case], Measured]
CASES = cases.COSINE


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_cosine_search(benchmark: Any, measured: Measure, case: cases.Case, provider: str) -> None:
    result = measured("cosine search", case)
    if provider in result.skipped:
        pytest.skip(result.skipped[provider])
    benchmark.group = f"{result.kind}, {case}"
    benchmark.extra_info["ours_over"] = ratio(result.samples[OURS], result.samples[provider])
    CLOCK.play(benchmark, result.samples[provider])
