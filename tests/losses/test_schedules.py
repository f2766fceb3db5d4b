"""Schedules: their formulas, their ends, as tensors in a compiled step, and what they refuse."""

import math
import pickle
from typing import Any

import pytest
import torch

from aevae_fast.losses import CyclicalSchedule, LinearSchedule, Schedule, SigmoidSchedule, make_schedule

SCHEDULES: dict[str, Schedule] = {
    "linear_up": LinearSchedule(0.1, 0.7, 30),
    "linear_down": LinearSchedule(5.0, 0.0, 7),
    "cyclical": CyclicalSchedule(0.0, 1.0, 40),
    "cyclical_uneven": CyclicalSchedule(0.0, 2.0, 100, cycles=3, proportion=1.0),
    "sigmoid": SigmoidSchedule(0.0, 25.0, 50),
    "sigmoid_steep": SigmoidSchedule(1.0, 0.3, 50, steepness=100.0),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_ends_are_met_exactly_and_kept(name: str) -> None:
    schedule = SCHEDULES[name]
    for step in (-5, 0):
        assert schedule(step) == schedule.start
        assert schedule(torch.tensor(step)) == torch.tensor(schedule.start)
    for step in (schedule.steps, schedule.steps + 1, 2**62):
        assert schedule(step) == schedule.end
        assert schedule(torch.tensor(step)) == torch.tensor(schedule.end)
    low, high = sorted((schedule.start, schedule.end))
    values = [schedule(step) for step in range(schedule.steps + 1)]
    assert all(type(value) is float and low <= value <= high for value in values)


@pytest.mark.parametrize("name", SCHEDULES)
def test_tensors_under_a_compiled_step_without_recompiling(name: str) -> None:
    torch._dynamo.reset()
    schedule = SCHEDULES[name]
    compiled = torch.compile(lambda step: 2 * schedule(step), fullgraph=True, backend="aot_eager")
    for step in range(schedule.steps + 3):
        with torch._dynamo.config.patch(error_on_recompile=step > 0):
            value = compiled(torch.tensor(step))
        assert value.dtype == torch.float32
        assert value.ndim == 0
        assert abs(value / 2 - schedule(step)) <= 4 * 2.0**-24 * max(schedule.start, schedule.end)


def test_formulas() -> None:
    linear = LinearSchedule(2, 4, 10)
    assert [linear(step) for step in (0, 1, 5, 9, 10)] == pytest.approx([2, 2.2, 3, 3.8, 4], rel=1e-15)
    cyclical = CyclicalSchedule(0.0, 1.0, 40, cycles=4, proportion=0.5)
    period = [0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1]
    assert [cyclical(step) for step in range(41)] == pytest.approx([*period * 4, 1], rel=1e-15)
    third = [CyclicalSchedule(0.0, 1.0, 100, cycles=3, proportion=1.0)(step) for step in (33, 34, 66, 67)]
    assert third == pytest.approx([0.99, 0.02, 0.98, 0.01], rel=1e-12)
    sigmoid = SigmoidSchedule(0, 1, 50, steepness=12)
    logistic = [1 / (1 + math.exp(-12 * (step / 50 - 0.5))) for step in range(51)]
    span = logistic[-1] - logistic[0]
    assert [sigmoid(step) for step in range(51)] == pytest.approx(
        [(y - logistic[0]) / span for y in logistic], abs=1e-14
    )


@pytest.mark.parametrize("name", SCHEDULES)
def test_options_build_it_again(name: str) -> None:
    schedule = SCHEDULES[name]
    assert make_schedule(schedule.options()) == schedule
    assert make_schedule(schedule) is schedule
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert make_schedule(4) == 4.0


BAD: list[tuple[type[Exception], str, Any]] = [
    (ValueError, "name must be one of 'linear', 'cyclical', 'sigmoid'; got 'cosine'", {"name": "cosine"}),
    (ValueError, "start must be finite; got nan", {"name": "linear", "start": torch.nan, "end": 1, "steps": 3}),
    (ValueError, "steps must be at least 1; got 0", {"name": "linear", "start": 0, "end": 1, "steps": 0}),
    (TypeError, "steps must be an int; got float", {"name": "linear", "start": 0, "end": 1, "steps": 1e3}),
    (ValueError, "cycles must be at least 1", {"name": "cyclical", "start": 0, "end": 1, "steps": 9, "cycles": 0}),
    (ValueError, r"in \(0, 1\]; got 0", {"name": "cyclical", "start": 0, "end": 1, "steps": 9, "proportion": 0}),
    (ValueError, "steepness must be above 0", {"name": "sigmoid", "start": 0, "end": 1, "steps": 9, "steepness": 0}),
    (TypeError, "missing 1 required positional argument: 'steps'", {"name": "linear", "start": 0, "end": 1}),
    (TypeError, "must be a number, a Schedule or its options; got str", "linear"),
    (TypeError, "must be a number, a Schedule or its options; got bool", True),
]


@pytest.mark.parametrize(("error", "message", "spec"), BAD, ids=[b[1][:25] for b in BAD])
def test_bad_specs_are_named(error: type[Exception], message: str, spec: Any) -> None:
    with pytest.raises(error, match=message):
        make_schedule(spec)
