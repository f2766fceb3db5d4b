"""Weights that follow the training step: linear, cyclical, sigmoid."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, overload

import torch
from torch import Tensor


@dataclass(frozen=True)
class Schedule(ABC):
    """From start to end over steps; start before step 0, end from step `steps` on.

    `schedule(step)` gives a float for an int, and a 0-d float32 tensor for a 0-d int64 tensor, on its device: then the
    host need not wait, nor a compiled step be compiled again for each value.
    """

    start: float
    end: float
    steps: int

    name: ClassVar[str]

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be finite; got {getattr(self, name)}")
        _check_count("steps", self.steps)

    @overload
    def __call__(self, step: Tensor) -> Tensor: ...
    @overload
    def __call__(self, step: int) -> float: ...
    def __call__(self, step: Tensor | int) -> Tensor | float:
        if not isinstance(step, Tensor):
            return float(self._value(torch.tensor(step), torch.float64))
        return self._value(step, torch.float32)

    def options(self) -> dict[str, Any]:
        """The plain values from which `make_schedule` builds this schedule again, its name among them."""
        return {"name": self.name, **asdict(self)}

    def _value(self, step: Tensor, dtype: torch.dtype) -> Tensor:
        share = self._share(step.clamp(0, self.steps), dtype)
        return self.start * (1 - share) + self.end * share  # exact at both ends

    @abstractmethod
    def _share(self, step: Tensor, dtype: torch.dtype) -> Tensor:
        """How much of the way is done at a step within [0, steps], from 0 to 1."""


@dataclass(frozen=True)
class LinearSchedule(Schedule):
    """start + (end - start)·step/steps."""

    name = "linear"

    def _share(self, step: Tensor, dtype: torch.dtype) -> Tensor:
        return step.to(dtype) / self.steps


@dataclass(frozen=True)
class CyclicalSchedule(Schedule):
    """A line from start to end, then a rest at end, cycles times over; Fu et al. 2019 (arXiv:1903.10145).

    Args:
        cycles: how often, within steps.
        proportion: of each cycle that the line takes.
    """

    cycles: int = 4
    proportion: float = 0.5

    name = "cyclical"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_count("cycles", self.cycles)
        if not 0 < self.proportion <= 1:
            raise ValueError(f"proportion must lie in (0, 1]; got {self.proportion}")

    def _share(self, step: Tensor, dtype: torch.dtype) -> Tensor:
        phase = (step * self.cycles % self.steps).to(dtype) / self.steps
        return torch.where(step < self.steps, (phase / self.proportion).clamp(max=1), 1.0)


@dataclass(frozen=True)
class SigmoidSchedule(Schedule):
    """A logistic curve over step (Bowman et al. 2016, arXiv:1511.06349), stretched to meet start and end exactly.

    Args:
        steepness: the curve is the logistic function's piece from -steepness/2 to steepness/2.
    """

    steepness: float = 10.0

    name = "sigmoid"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.steepness < math.inf:
            raise ValueError(f"steepness must be above 0 and finite; got {self.steepness}")

    def _share(self, step: Tensor, dtype: torch.dtype) -> Tensor:
        edge = self.steepness / 4  # the logistic function of u is (1 + tanh(u/2))/2
        return 0.5 + 0.5 * torch.tanh(edge * (2 * step.to(dtype) / self.steps - 1)) / math.tanh(edge)


SCHEDULES: dict[str, type[Schedule]] = {kind.name: kind for kind in (LinearSchedule, CyclicalSchedule, SigmoidSchedule)}


def make_schedule(spec: float | Schedule | Mapping[str, Any]) -> float | Schedule:
    """A number or a schedule as it is, or the schedule that a mapping such as `schedule.options()` describes: its name
    ("linear", "cyclical", "sigmoid") and arguments.

    Raises:
        ValueError: the mapping's name is unknown.
        TypeError: spec is none of these, or an argument is unknown or missing.
    """
    if isinstance(spec, Schedule):
        return spec
    if isinstance(spec, Mapping):
        name, options = spec.get("name"), {key: value for key, value in spec.items() if key != "name"}
        if name not in SCHEDULES:
            raise ValueError(f"a schedule's name must be one of {', '.join(map(repr, SCHEDULES))}; got {name!r}")
        return SCHEDULES[name](**options)
    if isinstance(spec, bool) or not isinstance(spec, int | float):
        raise TypeError(f"a schedule must be a number, a Schedule or its options; got {type(spec).__name__}")
    return float(spec)


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int; got {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1; got {value}")
