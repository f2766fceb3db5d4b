"""What comes of checking an operation on one case."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ._cases import Case
from ._gaussian_cases import GaussianCase

if TYPE_CHECKING:
    from ._mixture_checks import MixtureCase
    from ._residual_checks import ResidualCase
    from ._scalar_checks import LevelsCase, SignsCase


class Result(NamedTuple):
    """The largest error in units of what is allowed, the indices that differ from float64's and those of them that are
    wrong; None where an operation has no such thing."""

    operation: str
    case: "Case | GaussianCase | MixtureCase | ResidualCase | LevelsCase | SignsCase"
    seconds: float
    error: float | None = None
    differing: int | None = None
    wrong: int | None = None

    @property
    def passed(self) -> bool:
        return not self.wrong and (self.error is None or self.error <= 1)  # a NaN fails


def timed(call: Callable[[], Any], device: torch.device) -> tuple[Any, float]:
    """What the call returns, and its seconds."""
    start = time.perf_counter()
    result = call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, time.perf_counter() - start
