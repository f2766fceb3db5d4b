"""`rotate_to`: the value of a code, with the rotation trick's gradient to the vector that it stands for."""

from typing import Any

from torch import Tensor
from torch.autograd import Function

from .. import reference
from ._autograd import first_order
from ._checks import as_rows, check_device, check_input
from ._dispatch import Impl, choose, run


def rotate_to(source: Tensor, target: Tensor, *, dim: int = -1, impl: Impl | None = None) -> Tensor:
    """target, exactly, with a gradient to source as if source had been turned and scaled into it; Fifty et al. 2024
    (arXiv:2410.06424).

    The gradient is (‖q‖/‖e‖)·(g - 2w(wᵀg) + 2ê(q̂ᵀg)), e a vector of source, q of target, ê and q̂ their directions, w
    that of ê + q̂. Where ê = -q̂ the turn is a reflection; where e is 0 the gradient passes unchanged. No gradient
    reaches target.

    Args:
        source: vectors of size D along axis `dim`, any strides. float16, bfloat16, float32; float64 goes to the
            reference.
        target: like source (shape, dtype, device).
        dim: the axis that holds D.
        impl: force "reference", "portable" or "triton"; None lets the device decide.

    Returns:
        The values of target.

    Raises:
        TypeError, ValueError: a dtype, shape, device or option that does not fit, named.
    """
    check_input(source, dim)
    if not isinstance(target, Tensor):
        raise TypeError(f"target must be a torch.Tensor; got {type(target).__name__}")
    if target.dtype != source.dtype:
        raise TypeError(f"target must have source's dtype, {source.dtype}; got {target.dtype}")
    if target.shape != source.shape:
        raise ValueError(f"target must have source's shape, {tuple(source.shape)}; got {tuple(target.shape)}")
    check_device("target", target, source)
    impl_ = choose(impl, source)
    if impl_ == "reference":
        return reference.rotate_to(source.movedim(dim, -1), target.movedim(dim, -1)).movedim(-1, dim)
    return _RotateTo.apply(source, target, dim, impl_)


class _RotateTo(Function):
    """Saves source and target."""

    @staticmethod
    def forward(source: Tensor, target: Tensor, dim: int, impl: str) -> Tensor:
        return target.view_as(target)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        source, target, ctx.dim, ctx.impl = inputs
        ctx.save_for_backward(source, target)

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        source, target = ctx.saved_tensors
        rows = [as_rows(tensor, ctx.dim) for tensor in (grad, source, target)]
        shape = source.movedim(ctx.dim, -1).shape
        if any(tensor.shape != rows[0].shape for tensor in rows):  # strides that merge differently
            rows = [tensor.reshape(1, -1, shape[-1]) for tensor in rows]
        found = run("rotate_to_backward", ctx.impl, *rows)
        return found.reshape(shape).movedim(-1, ctx.dim), None, None, None
