"""Plain values to tensors and back."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Values = float | Sequence[Any] | Tensor


def plain_values(values: Values) -> Any:
    """Numbers and lists of them."""
    if isinstance(values, Tensor):
        return values.tolist()
    return list(map(plain_values, values)) if isinstance(values, list | tuple) else values


def row(name: str, values: Values, dim: int) -> Tensor:
    """`[dim]` from a number for all or one for each."""
    return filled(name, values, (dim,))


def filled(name: str, values: Values, shape: tuple[int, ...]) -> Tensor:
    """A new tensor of `shape`, float32 (float64 from such a tensor), from a number or just as many as it takes.

    Raises:
        TypeError: no numbers.
        ValueError: another count, or one that is not finite.
    """
    try:
        given = torch.as_tensor(values)
        given = given if given.dtype == torch.float64 and isinstance(values, Tensor) else given.to(torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must be a number or numbers; got {values!r}") from error
    if tuple(given.shape) not in ((), shape):
        raise ValueError(f"{name} must be a number or have shape {shape}; got shape {tuple(given.shape)}")
    if not given.isfinite().all():
        raise ValueError(f"{name} must be finite; got {given.tolist()}")
    return given.detach().expand(shape).clone()
