"""Residual quantization where the codes have been chosen already, as by a beam search."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from .. import functional
from ..functional._autograd import Accompanied, first_order


def quantize_given(
    x: Tensor,
    codebooks: Sequence[Tensor],
    indices: Tensor,
    *,
    commitment_weight: float,
    codebook_weight: float,
    detach_residual: bool,
    active: Tensor | None,
    mask: Tensor | None,
    dim: int,
    estimator: str,
    statistics: Sequence[tuple[Tensor, Tensor]] | None,
) -> tuple[Tensor, Tensor]:
    """What `functional.residual_vector_quantize` makes of its arguments, with indices [..., Q] given: quantized and
    losses [Q]. Plain PyTorch, which keeps a few copies of x for each stage."""
    last = x.movedim(dim, -1)
    keep = last.new_ones(last.shape[:-1], dtype=torch.bool) if mask is None else mask
    keep = keep if active is None else keep & (active > 0)
    elements = (keep.sum() * last.shape[-1]).clamp(min=1)
    kept = last.where(keep[..., None], 0.0).to(torch.promote_types(x.dtype, torch.float32))
    residual, total, losses = kept, torch.zeros_like(kept), []
    for stage, codebook in enumerate(codebooks):
        used = (keep if active is None else keep & (active > stage))[..., None]
        index = indices[..., stage, None]
        code = codebook[index[..., 0].clamp(min=0)].where(index >= 0, torch.nan).where(used, 0.0)
        commitment = (residual - code.detach()).where(used, 0.0).square().sum() / elements
        pull = (residual.detach() - code).where(used, 0.0).square().sum() / elements if codebook_weight else 0.0
        losses.append(commitment_weight * commitment + codebook_weight * pull)
        total, residual = total + code.detach(), residual - code.detach()
        residual = residual if detach_residual else residual.detach()
    quantized, loss = (total + (kept - kept.detach())).to(x.dtype), torch.stack(losses)
    if statistics is not None:
        codes = [codebook.detach() for codebook in codebooks]
        leaves = [leaf for pair in statistics for leaf in pair]
        quantized, loss = _CarryStatistics.apply(quantized, loss, last.detach(), indices, codes, *leaves)
    quantized = quantized.movedim(-1, dim)
    if estimator == "rotation":
        source = x if mask is None else x.where(mask.unsqueeze(dim), 0.0)  # what is masked gets no gradient
        turned = functional.rotate_to(source, quantized.detach(), dim=dim)
        quantized = turned if statistics is None else Accompanied.apply(turned, quantized)
    return quantized, loss


class _CarryStatistics(Function):
    """Its two first arguments, unchanged; in backward the leaves get the statistics of the residuals."""

    @staticmethod
    def forward(
        quantized: Tensor, loss: Tensor, x: Tensor, indices: Tensor, codebooks: list[Tensor], *leaves: Tensor
    ) -> tuple[Tensor, Tensor]:
        return quantized.view_as(quantized), loss.view_as(loss)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs[2:4], *inputs[4])

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor, grad_loss: Tensor) -> tuple[Tensor | None, ...]:
        x, indices, *codebooks = ctx.saved_tensors
        pairs = functional.residual_statistics(x, codebooks, indices)
        return grad, grad_loss, None, None, None, *(part.float() for pair in pairs for part in pair)
