"""`vector_quantize`: search, gather, straight-through gradient and loss in one pass, its backward in another."""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from .. import reference
from ._autograd import Accompanied, first_order
from ._checks import METRICS, as_rows, check_choice, check_codebook, check_input, check_rows
from ._dispatch import Impl, choose, run
from .rotate_to import rotate_to

ESTIMATORS = ("straight_through", "rotation")


def vector_quantize(
    x: Tensor,
    codebook: Tensor,
    *,
    metric: str = "euclidean",
    estimator: str = "straight_through",
    commitment_weight: float = 0.25,
    codebook_weight: float = 1.0,
    mask: Tensor | None = None,
    dim: int = -1,
    statistics: tuple[Tensor, Tensor] | None = None,
    indices: Tensor | None = None,
    impl: Impl | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Replace each vector of x by its nearest code; van den Oord et al. 2017 (arXiv:1711.00937), equation 3.

    Args:
        x: vectors of size D along axis `dim`, any strides: `[..., D]`, or `[B, D, H, W]` with `dim=1`, read and written
            in place. float16, bfloat16, float32; float64 goes to the reference.
        codebook: `[K, D]` float32. Its gradient is that of the codebook term alone.
        metric: "euclidean", "cosine" or "dot": what "nearest" means. The loss is the squared error in every case.
        estimator: of the gradient through the choice: "straight_through" passes it unchanged, "rotation" turns it and
            scales it as `rotate_to` does.
        commitment_weight: weight of mean (x - sg[e])², which pulls x to its code (β, 0.25 in the paper).
        codebook_weight: weight of mean (sg[x] - e)², which pulls the code to x.
        mask: bool, x's shape without `dim`, True for vectors that count.
        dim: the axis of x that holds D.
        statistics: two leaves that require grad, `[K]` and `[K, D]` float32. Their gradients become the count and the
            sum of the vectors that chose each code, whatever the loss. Travelling as a gradient they are taken once
            per backward pass, add up over accumulated batches and are not taken again by checkpointing.
        indices: codes that have been chosen already, in place of the search: int64, x's shape without `dim`; -1 for a
            vector that is not finite.
        impl: force "reference", "portable" or "triton"; None lets the device decide.

    Returns:
        quantized: like x (dtype, shape, strides). Its value is the code itself; its gradient goes to x.
        indices: int64, x's shape without `dim`; -1 where masked or not finite.
        loss: 0-d float32 (float64 for float64 x); means over the elements that count. Not finite if a vector that
            counts is not.

    Raises:
        TypeError, ValueError: a dtype, shape, device or option that does not fit, named.
    """
    check_choice("metric", metric, METRICS)
    check_choice("estimator", estimator, ESTIMATORS)
    check_input(x, dim)
    check_codebook(codebook, x, dim)
    if mask is not None:
        check_rows("mask", mask, torch.bool, x, dim)
    if indices is not None:
        check_rows("indices", indices, torch.int64, x, dim)
    for name, weight in (("commitment_weight", commitment_weight), ("codebook_weight", codebook_weight)):
        if not weight >= 0:
            raise ValueError(f"{name} must be at least 0; got {weight}")
    impl_ = choose(impl, x, codebook)
    last = x.movedim(dim, -1)
    if impl_ == "reference":
        quantized, indices, loss = reference.vector_quantize(
            last,
            codebook,
            metric=metric,
            commitment_weight=commitment_weight,
            codebook_weight=codebook_weight,
            mask=mask,
            indices=indices,
        )
        if statistics is not None:
            quantized, loss = _CarryStatistics.apply(quantized, loss, *statistics, last, indices)
    else:
        rows = as_rows(x, dim)
        row_mask, chosen = (None if t is None else t.reshape(rows.shape[:2]) for t in (mask, indices))
        leaves = statistics or (None, None)
        args = (
            rows,
            codebook.contiguous(),
            *leaves,
            row_mask,
            metric,
            (commitment_weight, codebook_weight),
            impl_,
            chosen,
        )
        quantized, indices, loss = _VectorQuantize.apply(*args)
        quantized, indices = quantized.reshape(last.shape), indices.reshape(last.shape[:-1])
    quantized = quantized.movedim(-1, dim)
    if estimator == "rotation":
        source = x if mask is None else x.where(mask.unsqueeze(dim), 0.0)  # what is masked gets no gradient
        turned = rotate_to(source, quantized.detach(), dim=dim, impl=impl)
        quantized = turned if statistics is None else Accompanied.apply(turned, quantized)
    return quantized, indices, loss


class _VectorQuantize(Function):
    """x [B, S, D]. Saves x, the codebook and the indices: nothing that the caller does not hold anyway."""

    @staticmethod
    def forward(
        x: Tensor,
        codebook: Tensor,
        counts: Tensor | None,
        sums: Tensor | None,
        mask: Tensor | None,
        metric: str,
        weights: tuple[float, float],
        impl: str,
        chosen: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        if chosen is None:
            quantized, indices, squared_error = run("vector_quantize", impl, x, codebook, mask, metric)
        else:
            quantized, indices, squared_error = _gather(x, codebook, chosen, mask)
        return quantized, indices, squared_error * (sum(weights) / _elements(x, mask))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        x, codebook, _, _, mask, _, ctx.weights, ctx.impl, _ = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, codebook, output[1], mask)

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor | None, _: Any, grad_loss: Tensor | None) -> tuple[Tensor | None, ...]:
        x, codebook, indices, mask = ctx.saved_tensors
        grad = x.new_zeros(()).expand(x.shape) if grad is None else grad
        grad_loss = codebook.new_zeros(()) if grad_loss is None else grad_loss
        commitment_weight, codebook_weight = ctx.weights
        needs_x, needs_codebook, needs_counts = ctx.needs_input_grad[:3]
        each = 2.0 / _elements(x, mask)
        grad_x = grad_codebook = counts = sums = None
        statistics = partial(run, "codebook_statistics", ctx.impl, x, indices, codebook.shape[0])
        if needs_x:
            args = (grad, x, codebook, indices, mask, grad_loss * (each * commitment_weight))
            grad_x = run("vector_quantize_backward", ctx.impl, *args)
        if needs_codebook:  # sums of differences: the difference of sums would cancel where data sits far from 0
            counts, differences = statistics(codebook)
            grad_codebook = differences * (grad_loss * (each * -codebook_weight))
            sums = torch.addcmul(differences, counts[:, None], codebook) if needs_counts else None
        elif needs_counts:
            counts, sums = statistics(None)
        return grad_x, grad_codebook, counts if needs_counts else None, sums, None, None, None, None, None


def _gather(x: Tensor, codebook: Tensor, indices: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """What the operation returns, for codes that have been chosen."""
    indices = indices.clone() if mask is None else indices.where(mask, -1)
    code = codebook[indices.clamp(min=0)].where((indices >= 0)[..., None], torch.nan)
    code = code if mask is None else code.where(mask[..., None], 0.0)
    difference = x - code
    difference = difference if mask is None else difference.where(mask[..., None], 0.0)
    return torch.empty_like(x).copy_(code), indices, difference.square().sum()


class _CarryStatistics(Function):
    """What `_VectorQuantize` does with its leaves, beside the reference's own gradient."""

    @staticmethod
    def forward(
        quantized: Tensor, loss: Tensor, counts: Tensor, sums: Tensor, x: Tensor, indices: Tensor
    ) -> tuple[Tensor, Tensor]:
        return quantized.view_as(quantized), loss.view_as(loss)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.size = len(inputs[2])
        ctx.save_for_backward(*inputs[4:])

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
        x, indices = ctx.saved_tensors
        counts, sums = reference.codebook_statistics(x, indices, ctx.size)
        return grad, grad_loss, counts.float(), sums.float(), None, None


def _elements(x: Tensor, mask: Tensor | None) -> Any:
    """How many elements the means are taken over, at least 1: a number, or a tensor that stays on the device."""
    return max(x.numel(), 1) if mask is None else (mask.sum() * x.shape[2]).clamp(min=1)
