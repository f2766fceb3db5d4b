"""`aevae-fast check` of the residual operations: right on this machine, and not blind."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from aevae_fast import functional
from aevae_fast.cli._residual_checks import ResidualCase, check_residual_vector_quantize, residual_cases

CPU = torch.device("cpu")
CASE = ResidualCase(69, 5, (20, 7), torch.float32)


def passed(case: ResidualCase) -> bool:
    return all(result.passed for result in check_residual_vector_quantize(case, CPU, None))


@pytest.mark.parametrize("case", list(residual_cases(True, 1 << 14)), ids=str)
def test_everything_is_right_here(case: ResidualCase) -> None:
    assert passed(case)


def another_code(quantized: Tensor, indices: Tensor, losses: Tensor) -> tuple[Tensor, ...]:
    moved = indices.clone()
    moved[0, -1] = (moved[0, -1] + 1) % CASE.sizes[-1]
    return quantized, moved, losses


def scaled_loss(quantized: Tensor, indices: Tensor, losses: Tensor) -> tuple[Tensor, ...]:
    return quantized, indices, losses * (1 + 1e-4)


def twice_the_gradient(quantized: Tensor, indices: Tensor, losses: Tensor) -> tuple[Tensor, ...]:
    return quantized.detach() + 2 * (quantized - quantized.detach()), indices, losses


def shifted_value(quantized: Tensor, indices: Tensor, losses: Tensor) -> tuple[Tensor, ...]:
    return quantized + 1e-5, indices, losses


@pytest.mark.parametrize("spoil", [another_code, scaled_loss, twice_the_gradient, shifted_value])
def test_a_mistake_is_seen(spoil: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    right = functional.residual_vector_quantize

    def wrong(*args: Any, impl: Any = None, **options: Any) -> Any:
        found = right(*args, impl=impl, **options)
        return found if impl == "reference" else spoil(*found)

    monkeypatch.setattr(functional, "residual_vector_quantize", wrong)
    assert not passed(CASE)


@pytest.mark.parametrize("part", [0, 1], ids=["counts", "sums"])
def test_wrong_statistics_are_seen(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    right = functional.residual_statistics

    def wrong(*args: Any, **options: Any) -> Any:
        *others, last = right(*args, **options)
        return [*others, tuple(found * (1 + (1e-3 if n == part else 0)) for n, found in enumerate(last))]

    monkeypatch.setattr(functional, "residual_statistics", wrong)
    assert not passed(CASE)


def test_an_index_where_none_may_be_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = functional.residual_vector_quantize

    def wrong(*args: Any, impl: Any = None, **options: Any) -> Any:
        quantized, indices, losses = right(*args, impl=impl, **options)
        return quantized, indices if impl == "reference" else indices.clamp(min=0), losses

    monkeypatch.setattr(functional, "residual_vector_quantize", wrong)
    assert not passed(CASE._replace(active=1))
    assert not passed(CASE._replace(masked=True))
