"""Weights of a loss: numbers, or schedules over the training step."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from aevae_fast.losses import Schedule, make_schedule

from .checks import check_not_negative

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
        check_not_negative(**{name: end})
    return made


def weight_at(weight: float | Schedule, step: Tensor) -> float | Tensor:
    """The number itself, or the schedule at `step`, 0-d."""
    return weight(step) if isinstance(weight, Schedule) else weight


def plain_weight(weight: float | Schedule | None) -> Any:
    """Plain values that `make_weight` takes."""
    return weight.options() if isinstance(weight, Schedule) else weight
