"""Nearest code where no row is certified: every provider on the same tensors, in turns."""

from collections.abc import Callable
from typing import Any

import pytest

from . import cases
from .measure import OURS, Measured
from .open_providers import PROVIDERS
from .replay import CLOCK
from .timing import ratio

Measure = Callable[[str, cases.Case], Measured]
CASES = cases.OPEN


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_open_search(benchmark: Any, measured: Measure, case: cases.Case, provider: str) -> None:
    result = measured("open search", case)
    if provider in result.skipped:
        pytest.skip(result.skipped[provider])
    benchmark.group = f"{result.kind}, {case}"
    benchmark.extra_info["ours_over"] = ratio(result.samples[OURS], result.samples[provider])
    CLOCK.play(benchmark, result.samples[provider])
