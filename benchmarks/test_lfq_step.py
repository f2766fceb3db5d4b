"""A training step of lookup-free quantization with its entropy loss; every provider on the same tensors, in turns."""

from collections.abc import Callable
from typing import Any

import pytest

from . import cases
from .measure import OURS, Measured
from .replay import CLOCK
from .scalar_providers import LFQ
from .timing import ratio

Measure = Callable[[str, cases.ScalarCase], Measured]
CASES = cases.LFQ


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.parametrize("provider", LFQ)
def test_lfq_step(benchmark: Any, measured: Measure, case: cases.ScalarCase, provider: str) -> None:
    result = measured("lfq", case)
    if provider in result.skipped:
        pytest.skip(result.skipped[provider])
    benchmark.group = f"{result.kind}, {case}"
    benchmark.extra_info["ours_over"] = ratio(result.samples[OURS], result.samples[provider])
    CLOCK.play(benchmark, result.samples[provider])
