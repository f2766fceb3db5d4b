"""A training step of a Gaussian mixture's log-density; every provider on the same tensors, in turns."""

from collections.abc import Callable
from typing import Any

import pytest

from . import cases
from .measure import OURS, Measured
from .mixture_providers import PROVIDERS
from .replay import CLOCK
from .timing import ratio

Measure = Callable[[str, cases.MixtureCase], Measured]
CASES = cases.MIXTURE


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_mixture_step(benchmark: Any, measured: Measure, case: cases.MixtureCase, provider: str) -> None:
    result = measured("mixture", case)
    if provider in result.skipped:
        pytest.skip(result.skipped[provider])
    benchmark.group = f"{result.kind}, {case}"
    benchmark.extra_info["ours_over"] = ratio(result.samples[OURS], result.samples[provider])
    CLOCK.play(benchmark, result.samples[provider])
