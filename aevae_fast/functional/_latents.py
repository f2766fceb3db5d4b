"""What the Gaussian operations check, and the one view of their tensors that every implementation reads."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ._checks import FLOATS, check_choice

PARAMETERIZATIONS = ("logvar", "logstd", "std", "softplus")
REDUCTIONS = ("none", "latent", "batch")


def check_gaussian(mean: Tensor, logvar: Tensor, prior_mean: Tensor | None, prior_logvar: Tensor | None) -> None:
    tensors = {"mean": mean, "logvar": logvar, "prior_mean": prior_mean, "prior_logvar": prior_logvar}
    for name, tensor in tensors.items():
        if tensor is None and name.startswith("prior"):
            continue
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor; got {type(tensor).__name__}")
        if tensor.dtype not in FLOATS:
            raise TypeError(f"{name} must be float16, bfloat16, float32 or float64; got {tensor.dtype}")
        if tensor.device != mean.device:
            raise ValueError(f"{name} must be on mean's device, {mean.device}; got {tensor.device}")
    if mean.ndim == 0:
        raise ValueError("mean must have shape [B, ...], the batch first; got a 0-d tensor")
    if logvar.shape != mean.shape:
        raise ValueError(f"logvar must have mean's shape, {tuple(mean.shape)}; got {tuple(logvar.shape)}")
    if logvar.dtype != mean.dtype:
        raise TypeError(f"logvar must have mean's dtype, {mean.dtype}; got {logvar.dtype}")
    for name, tensor in (("prior_mean", prior_mean), ("prior_logvar", prior_logvar)):
        if tensor is not None and not _broadcasts(tensor.shape, mean.shape):
            raise ValueError(f"{name} must broadcast to mean's shape, {tuple(mean.shape)}; got {tuple(tensor.shape)}")


def check_options(
    parameterization: str, clamp: tuple[float, float] | None, free_bits: float, reduction: str, samples: int | None
) -> None:
    check_choice("parameterization", parameterization, PARAMETERIZATIONS)
    check_choice("reduction", reduction, REDUCTIONS)
    if clamp is not None:
        if not (isinstance(clamp, tuple | list) and all(map(_is_number, clamp))):
            raise TypeError(f"clamp must be None or two numbers (lo, hi); got {clamp!r}")
        if not (len(clamp) == 2 and clamp[0] <= clamp[1]):
            raise ValueError(f"clamp must be None or (lo, hi) with lo <= hi; got {clamp!r}")
    if not _is_number(free_bits):
        raise TypeError(f"free_bits must be a number of nats; got {type(free_bits).__name__}")
    if not 0 <= free_bits < math.inf:
        raise ValueError(f"free_bits must be a finite number of nats, at least 0; got {free_bits}")
    if samples is not None and (isinstance(samples, bool) or not isinstance(samples, int)):
        raise TypeError(f"samples must be None or an int; got {type(samples).__name__}")
    if samples is not None and samples < 1:
        raise ValueError(f"samples must be None or at least 1; got {samples}")


def check_sigma(logvar: Tensor, parameterization: str, clamp: tuple[float, float] | None) -> None:
    """No negative σ. On a GPU and while a graph is traced the host cannot look: the result is NaN there."""
    if parameterization != "std" or (clamp is not None and clamp[0] >= 0):
        return
    if logvar.device.type == "cpu" and not torch.compiler.is_compiling() and bool((logvar < 0).any()):
        raise ValueError(
            "logvar holds standard deviations (parameterization='std'), which must be at least 0; got "
            f"{logvar.min():g}. Take 'softplus' or 'logstd' for an encoder's raw output"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_generator(generator: torch.Generator | None, mean: Tensor) -> None:
    if generator is None:
        return
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be None or a torch.Generator; got {type(generator).__name__}")
    if generator.device.type != mean.device.type:
        raise ValueError(f"generator must be on mean's device, {mean.device}; got {generator.device}")


def _broadcasts(shape: torch.Size, to: torch.Size) -> bool:
    pairs = zip(reversed(shape), reversed(to), strict=False)
    return len(shape) <= len(to) and all(size in (1, expected) for size, expected in pairs)


def halves(name: str, x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Views of x, the argument `name`, which holds mean and log-variance along dim."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor; got {type(x).__name__}")
    if not -x.ndim <= dim < x.ndim or dim % x.ndim == 0:
        raise ValueError(f"{name} must have an axis {dim} beside the batch, axis 0; got shape {tuple(x.shape)}")
    if x.shape[dim] % 2:
        raise ValueError(
            f"{name} must hold mean and log-variance along dim {dim}, an even size; got shape {tuple(x.shape)}"
        )
    mean, logvar = x.chunk(2, dim)
    return mean, logvar


class Layout(NamedTuple):
    """Tensors of one shape [B, ...] as `[B, S, D]` views, and the way back."""

    views: list[Tensor | None]
    restore: Callable[[Tensor], Tensor]
    join: Callable[[Tensor, int], Tensor | None]

    def parameters(self, joined: Tensor | None, dim: int) -> list[Tensor | None]:
        """The views, the first two as one, [B, 2, S, D] and None, where they are the halves of `joined` along dim. Its
        gradient then is one tensor that autograd takes back to joined's shape by views, where those of two halves would
        have to be copied into one."""
        pair = None if joined is None else self.join(joined, dim)
        return self.views if pair is None else [pair, None, *self.views[2:]]


def pair_of(mean: Tensor, logvar: Tensor | None) -> tuple[Tensor, Tensor]:
    """Of two tensors, or of one [B, 2, S, D], both."""
    return (mean, logvar) if logvar is not None else mean.unbind(1)  # type: ignore[return-value]


def lay_out(mean: Tensor, *others: Tensor | None) -> Layout:
    """View mean and others, expanded to its shape, as `[B, S, D]`, axes after the first in the order of mean's memory.

    Two such axes are enough for a chunk of an encoder's output along any dimension, a channel-first or channels-last
    map, and a prior per channel or per latent. Only tensors whose axes do not merge into two are copied.
    """
    order = [0]
    for axis in range(1, mean.ndim):  # insertion: tracing can compare strides, not sort by them
        place = len(order)
        while place > 1 and mean.stride(order[place - 1]) < mean.stride(axis):
            place -= 1
        order.insert(place, axis)
    views = [None if t is None else t.expand(mean.shape).permute(order) for t in (mean, *others)]
    sizes = views[0].shape if views[0] is not None else mean.shape
    breaks = _breaks(views)
    copied = len(breaks) > 1
    if copied:
        views = [None if t is None else t.contiguous() for t in views]
        breaks = []
    split = breaks[0] if breaks else 1
    length, dimension = math.prod(sizes[1:split]), math.prod(sizes[split:])
    inverse = sorted(range(mean.ndim), key=order.__getitem__)

    def restore(result: Tensor) -> Tensor:
        """A contiguous [..., B, S, D] in the shape of mean, axes before B staying in front."""
        front = result.ndim - 3
        axes = [*range(front), *(front + axis for axis in inverse)]
        return result.reshape(*result.shape[:front], *sizes).permute(axes)

    def join(both: Tensor, dim: int) -> Tensor | None:
        """[B, 2, S, D], a view of both, whose halves along dim mean and logvar are; None where those were copied."""
        if copied:
            return None
        axis = dim % both.ndim
        apart = both.unflatten(axis, (2, mean.shape[axis]))
        order_ = [0, axis, *(each + (each >= axis) for each in order[1:])]
        return apart.permute(order_).reshape(sizes[0], 2, length, dimension)

    return Layout([None if t is None else t.reshape(sizes[0], length, dimension) for t in views], restore, join)


def _breaks(views: list[Tensor | None]) -> list[int]:
    """Axes past the second that do not continue the one before, in some tensor."""
    found = []
    for tensor in views:
        if tensor is None:
            continue
        axes = [axis for axis in range(1, tensor.ndim) if tensor.shape[axis] != 1]
        for before, axis in pairwise(axes):
            if tensor.stride(before) != tensor.shape[axis] * tensor.stride(axis) and axis not in found:
                found.append(axis)
    return found
