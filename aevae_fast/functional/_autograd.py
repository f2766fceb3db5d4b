"""What the gradients of this package share."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

Backward = Callable[..., Any]


def first_order(backward: Backward) -> Backward:
    """A backward whose result is no function of its inputs: to differentiate it again is an error.

    `once_differentiable` alone sees that only where the gradient that comes in is part of a graph. Under
    `create_graph=True` it would let a gradient that depends on the inputs pass as a constant, alone or beside others
    of the same tensors: so each gradient hangs on all tensors that it may depend on, by a step that has no backward.
    """
    once = once_differentiable(backward)

    @wraps(backward)
    def call(ctx: Any, *grads: Tensor | None) -> Any:
        traced = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
        if traced or not torch.is_grad_enabled():
            return once(ctx, *grads)
        ctx = _Saved(ctx)
        sources = [t for t in (*grads, *ctx.saved_tensors) if t is not None and t.requires_grad]
        found = once(ctx, *(None if grad is None else grad.detach().requires_grad_() for grad in grads))
        found = found if isinstance(found, tuple) else (found,)
        return tuple(None if grad is None else _Last.apply(grad, *sources) for grad in found)

    return call


class _Saved:
    """A context whose tensors are taken out once, which is all that checkpointing allows."""

    def __init__(self, ctx: Any) -> None:
        self.ctx, self.saved_tensors = ctx, ctx.saved_tensors

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ctx, name)


class _Last(Function):
    """A gradient, and what it depends on in ways that are not known."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, *sources: Tensor) -> Tensor:
        return grad.view_as(grad)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise RuntimeError("trying to differentiate twice what has a first derivative only")


class Accompanied(Function):
    """value, and a tensor whose backward is to run with it, with a gradient of 0: statistics travel that way."""

    @staticmethod
    def forward(value: Tensor, companion: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        return grad, grad.new_zeros(()).expand(grad.shape)
