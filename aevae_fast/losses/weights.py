"""Weights of a loss: numbers, or schedules over the training step."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .schedules import Schedule, make_schedule

Weight = float | Schedule | Mapping[str, Any]


def make_weight(name: str, value: Weight) -> float | Schedule:
    """A number, a schedule, or the schedule that `value` describes; at no step negative.

    Raises:
        TypeError, ValueError: something else; the error begins with `name`.
    """
    try:
        made = make_schedule(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from error
    for end in (made.start, made.end) if isinstance(made, Schedule) else (made,):
        if not 0 <= end < math.inf:
            raise ValueError(f"{name}: expected a finite number, 0 or more, got {end!r}")
    return made


def weight_at(weight: float | Schedule, step: Tensor) -> float | Tensor:
    """The number itself, or the schedule at `step`, 0-d."""
    return weight(step) if isinstance(weight, Schedule) else weight


def plain_weight(weight: float | Schedule | None) -> Any:
    """Plain values that `make_weight` takes."""
    return weight.options() if isinstance(weight, Schedule) else weight
