"""A training step of finite scalar quantization; every provider on the same tensors, in turns."""

from collections.abc import Callable
from typing import Any

import pytest

from . import cases
from .measure import OURS, Measured
from .replay import CLOCK
from .scalar_providers import FSQ
from .timing import ratio

Measure = Callable[[str, cases.ScalarCase], Measured]
CASES = cases.FSQ


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.parametrize("provider", FSQ)
def test_fsq_step(benchmark: Any, measured: Measure, case: cases.ScalarCase, provider: str) -> None:
    result = measured("fsq", case)
    if provider in result.skipped:
        pytest.skip(result.skipped[provider])
    benchmark.group = f"{result.kind}, {case}"
    benchmark.extra_info["ours_over"] = ratio(result.samples[OURS], result.samples[provider])
    CLOCK.play(benchmark, result.samples[provider])
