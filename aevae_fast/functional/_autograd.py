"""What the gradients of this package share."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Backward = Callable[..., Any]


def first_order(backward: Backward) -> Backward:
    """A backward whose result is no function of its inputs: to differentiate it again is an error.

    `once_differentiable` alone sees that only where the gradient that comes in is part of a graph. Under
    `create_graph=True` it would let a gradient that depends on the inputs pass as a constant.
    """
    once = once_differentiable(backward)

    @wraps(backward)
    def call(ctx: Any, *grads: Tensor | None) -> Any:
        traced = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
        if torch.is_grad_enabled() and not traced:
            grads = tuple(None if grad is None else grad.detach().requires_grad_() for grad in grads)
        return once(ctx, *grads)

    return call
