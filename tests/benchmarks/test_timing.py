"""Taking turns, dropping out, ratios; samples shown to pytest-benchmark; floors."""

import itertools
import time

import pytest
import torch

from benchmarks.cases import Case
from benchmarks.replay import SampleClock
from benchmarks.roofline import floor_seconds, search_work, step_work
from benchmarks.timing import Budget, interleave, ratio, spread

CPU = torch.device("cpu")


def test_providers_take_turns() -> None:
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name)) for name in "ABC"}
    samples = interleave(calls, CPU, Budget(repeats=4, least=2, seconds=60))
    assert "".join(order) == "ABC" * 5  # the first time round is warm-up
    assert [len(values) for values in samples.values()] == [4, 4, 4]


def test_a_slow_provider_drops_out_after_its_least_rounds() -> None:
    calls = {"slow": lambda: time.sleep(0.05), "fast": lambda: None}
    samples = interleave(calls, CPU, Budget(repeats=10, least=3, seconds=0.2))
    assert len(samples["slow"]) == 3
    assert len(samples["fast"]) == 10


def test_ratio_uses_the_rounds_that_both_took_part_in() -> None:
    assert ratio([1.0, 1.0, 1.0, 9.0, 9.0], [2.0, 2.0, 2.0]) == 0.5


def test_spread() -> None:
    assert spread([5.0, 1.0, 4.0, 2.0, 3.0, 6.0]) == (3.5, 2.0, 5.0, 6)


def test_a_benchmark_sees_the_samples_it_is_given() -> None:
    class Benchmark:
        """Times rounds as pytest-benchmark's pedantic mode does."""

        def pedantic(self, target, rounds):  # type: ignore[no-untyped-def]
            self.seen = [-clock() + (target(), clock())[1] for _ in range(rounds)]

    clock, benchmark = SampleClock(), Benchmark()
    clock.play(benchmark, [0.5, 0.25])
    clock.play(benchmark, [0.125, 2.0])
    assert benchmark.seen == [0.125, 2.0]


@pytest.mark.parametrize(
    ("case", "microseconds"),
    [
        pytest.param(Case(65536, 64, 1024, "bf16"), 8.7, id="product"),
        pytest.param(Case(65536, 8, 16384), 70, id="epilogue"),
        pytest.param(Case(1_000_000, 64, 64), 79, id="memory"),
    ],
)
def test_floors_on_an_h100(case: Case, microseconds: float) -> None:
    floor = floor_seconds(search_work(case), "NVIDIA H100 80GB HBM3")
    assert floor == pytest.approx(microseconds * 1e-6, rel=0.02)
    assert floor_seconds(search_work(case), "some other GPU") is None


def test_a_step_needs_more_than_its_search() -> None:
    case = Case(65536, 64, 1024)
    assert all(step >= search for step, search in itertools.zip_longest(step_work(case), search_work(case)))
