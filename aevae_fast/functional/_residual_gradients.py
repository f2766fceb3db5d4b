"""The gradients of `residual_vector_quantize`, and its statistics, which travel as gradients."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from .. import reference
from ._autograd import first_order
from ._dispatch import run


class ResidualVectorQuantize(Function):
    """x [B, S, D], codebooks [ΣK, D], leaves counts and sums of each stage in turn. Saves x, codebooks and indices."""

    @staticmethod
    def forward(
        x: Tensor,
        codebooks: Tensor,
        active: Tensor | None,
        mask: Tensor | None,
        sizes: list[int],
        options: tuple[float, float, bool],
        impl: str,
        *leaves: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        args = (x, codebooks, sizes, active, mask)
        quantized, indices, squared_errors = run("residual_vector_quantize", impl, *args)
        return quantized, indices, squared_errors * (sum(options[:2]) / _elements(x, mask))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        x, codebooks, _, mask, ctx.sizes, ctx.options, ctx.impl = inputs[:7]
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, codebooks, output[1], mask)

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor | None, _: Any, grad_losses: Tensor | None) -> tuple[Tensor | None, ...]:
        x, codebooks, indices, mask = ctx.saved_tensors
        grad = x.new_zeros(()).expand(x.shape) if grad is None else grad
        grad_losses = codebooks.new_zeros(len(ctx.sizes)) if grad_losses is None else grad_losses
        commitment_weight, codebook_weight, detach_residual = ctx.options
        scales = grad_losses * (2.0 / _elements(x, mask))
        grad_x = grad_codebooks = None
        if ctx.needs_input_grad[0]:
            pull = scales * commitment_weight
            pull = pull if detach_residual else torch.cat([pull[:1], torch.zeros_like(pull[1:])])
            args = (grad, x, codebooks, ctx.sizes, indices, pull)
            grad_x = run("residual_vector_quantize_backward", ctx.impl, *args)
            if mask is not None:  # there x may be anything, also what would show in the gradient
                grad_x = grad_x.masked_fill_(~mask[..., None], 0.0)
        needs_codebooks, needs_leaves = ctx.needs_input_grad[1], any(ctx.needs_input_grad[7:])
        found: list[Tensor | None] = [None] * (len(ctx.needs_input_grad) - 7)
        if needs_codebooks or needs_leaves:
            # Sums of differences for a gradient: the difference of sums would cancel where data sits far from 0.
            statistics = (x, codebooks, ctx.sizes, indices, needs_codebooks)
            counts, sums = run("residual_statistics", ctx.impl, *statistics)
            if needs_codebooks:
                weights = (scales * -codebook_weight).unbind()
                weight = torch.cat([w.expand(size) for w, size in zip(weights, ctx.sizes, strict=True)])
                grad_codebooks = sums * weight[:, None]
                sums = torch.addcmul(sums, counts[:, None], codebooks) if needs_leaves else sums
            if needs_leaves:
                found[::2], found[1::2] = counts.split(ctx.sizes), sums.split(ctx.sizes)
        return grad_x, grad_codebooks, None, None, None, None, None, *found


class CarryStatistics(Function):
    """What `ResidualVectorQuantize` does with its leaves, beside the reference's own gradient."""

    @staticmethod
    def forward(
        quantized: Tensor, losses: Tensor, x: Tensor, indices: Tensor, codebooks: list[Tensor], *leaves: Tensor
    ) -> tuple[Tensor, Tensor]:
        return quantized.view_as(quantized), losses.view_as(losses)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs[2:4], *inputs[4])

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor, grad_losses: Tensor) -> tuple[Tensor | None, ...]:
        x, indices, *codebooks = ctx.saved_tensors
        pairs = reference.residual_statistics(x, codebooks, indices)
        return grad, grad_losses, None, None, None, *(part.float() for pair in pairs for part in pair)


def _elements(x: Tensor, mask: Tensor | None) -> Any:
    """How many elements the means are taken over, at least 1: a number, or a tensor that stays on the device."""
    return max(x.numel(), 1) if mask is None else (mask.sum() * x.shape[2]).clamp(min=1)
