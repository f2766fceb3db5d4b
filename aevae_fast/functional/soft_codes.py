"""Soft assignments to codes without the [N, K] matrix: drawn codes, gradients through a softmax, cross-entropy, usage.

All take x `[..., D]` along axis `dim`, a codebook `[K, D]`, and the softmax over codes of s/temperature, where s is
-‖x - c‖ (metric="euclidean") or x·c (metric="dot": with unit vectors, the cosine). Blocks of rows are computed forward
and again in backward. float16, bfloat16, float32 and float64 x; impl="reference" keeps [N, K] for autograd.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function

from .. import reference
from ._autograd import first_order
from ._checks import as_rows, check_choice, check_codebook, check_input, check_rows
from ._dispatch import Impl
from ._plain_ops import by_reference
from .code_probabilities import SumOverRanks

_OPS = torch.ops.aevae_fast
METRICS = ("euclidean", "dot")


def _check(x: Tensor, codebook: Tensor, metric: str, temperature: float, dim: int) -> None:
    check_choice("metric", metric, METRICS)
    check_input(x, dim)
    check_codebook(codebook, x, dim)
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0; got {temperature}")


def sample_codes(
    x: Tensor,
    codebook: Tensor,
    k: int = 1,
    *,
    metric: str = "euclidean",
    temperature: float = 1.0,
    dim: int = -1,
) -> Tensor:
    """k different codes for each vector, drawn with the odds of the softmax by the Gumbel-max trick (Kool et al. 2019,
    arXiv:1903.06059, for k above 1), from torch's generator: `[..., k]` int64; -1 for a vector that is not finite."""
    _check(x, codebook, metric, temperature, dim)
    if not 1 <= k <= len(codebook):
        raise ValueError(f"k must lie in [1, {len(codebook)}], the number of codes; got {k}")
    indices = _OPS.sample_codes(as_rows(x.detach(), dim), codebook.detach().contiguous(), k, metric, 1 / temperature)
    return indices.reshape(*x.movedim(dim, -1).shape[:-1], k)


def soft_straight_through(
    x: Tensor,
    codebook: Tensor,
    indices: Tensor,
    *,
    metric: str = "euclidean",
    temperature: float = 1.0,
    dim: int = -1,
    impl: Impl | None = None,
) -> Tensor:
    """The chosen codes, exactly, with the gradient of Σ_k (onehot + p - sg[p])_k c_k: to x through the softmax p, to
    the codebook through p and, for the chosen codes, directly. Bengio et al. 2013 (arXiv:1308.3432); with a codebook
    that takes the gradient it is index backpropagation, Shi et al. 2024 (arXiv:2412.02692).

    Args:
        indices: int64, x's shape without `dim`; -1 for a vector that has no code: NaN, and no gradient.

    Returns:
        Like x.
    """
    _check(x, codebook, metric, temperature, dim)
    check_rows("indices", indices, torch.int64, x, dim)
    last = x.movedim(dim, -1)
    if by_reference(impl, "soft_straight_through", x, codebook):
        wide = last.to(torch.promote_types(x.dtype, codebook.dtype))
        found = reference.soft_straight_through(wide, codebook, indices, metric, temperature)
        return found.to(x.dtype).movedim(-1, dim)
    rows = as_rows(x, dim)
    found = _SoftStraightThrough.apply(
        rows, codebook.contiguous(), indices.reshape(rows.shape[:2]), metric, 1 / temperature
    )
    return found.reshape(last.shape).movedim(-1, dim)


def code_cross_entropy(
    x: Tensor,
    codebook: Tensor,
    targets: Tensor,
    *,
    metric: str = "euclidean",
    temperature: float = 1.0,
    dim: int = -1,
    impl: Impl | None = None,
) -> Tensor:
    """Mean of -log p(target) in nats, 0-d float32 (float64 for float64 x).

    Args:
        targets: int64, x's shape without `dim`; -1 for a vector to skip.

    Raises:
        ValueError: a target is no code. Values are read on a CPU alone: on a GPU that would wait for the device.
    """
    _check(x, codebook, metric, temperature, dim)
    check_rows("targets", targets, torch.int64, x, dim)
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        wrong = targets[(targets < -1) | (targets >= len(codebook))]
        if len(wrong) > 0:
            raise ValueError(f"targets must lie in [-1, {len(codebook) - 1}]; got {wrong[0].item()}")
    if by_reference(impl, "code_cross_entropy", x, codebook):
        wide = x.movedim(dim, -1).to(torch.promote_types(x.dtype, codebook.dtype))
        return reference.code_cross_entropy(wide, codebook, targets, metric, temperature)
    rows = as_rows(x, dim)
    total = _CrossEntropy.apply(rows, codebook.contiguous(), targets.reshape(rows.shape[:2]), metric, 1 / temperature)
    return total / (targets >= 0).sum().clamp(min=1)


def mean_assignment(
    x: Tensor,
    codebook: Tensor,
    mask: Tensor | None = None,
    *,
    metric: str = "euclidean",
    temperature: float = 1.0,
    dim: int = -1,
    sync: bool = False,
    impl: Impl | None = None,
) -> Tensor:
    """How much each code is used: mean of the softmax over the vectors that count, `[K]` float32 (float64 for float64).

    Args:
        mask: bool, x's shape without `dim`, True for vectors that count.
        sync: the mean over the vectors of all ranks, which must all call this.
    """
    _check(x, codebook, metric, temperature, dim)
    if mask is None:
        mask = x.new_ones(x.movedim(dim, -1).shape[:-1], dtype=torch.bool)
    check_rows("mask", mask, torch.bool, x, dim)
    if by_reference(impl, "mean_assignment", x, codebook):
        wide = x.movedim(dim, -1).to(torch.promote_types(x.dtype, codebook.dtype))
        total = reference.total_assignment(wide, codebook, mask, metric, temperature)
    else:
        rows = as_rows(x, dim)
        total = _Assignment.apply(rows, codebook.contiguous(), mask.reshape(rows.shape[:2]), metric, 1 / temperature)
    number = mask.sum().to(total.dtype)
    if sync and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        joined = SumOverRanks.apply(torch.cat([total, number[None]]))
        total, number = joined[:-1], joined[-1].detach()
    return total / number.clamp(min=1)


class _Saving(Function):
    """Saves x [B, S, D], the codebook and one number a row; what follows are options."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.options = inputs[3:]


class _SoftStraightThrough(_Saving):
    @staticmethod
    def forward(x: Tensor, codebook: Tensor, indices: Tensor, metric: str, scale: float) -> Tensor:
        found = codebook[indices.clamp(min=0)].masked_fill_((indices < 0)[..., None], torch.nan)
        return torch.empty_like(x).copy_(found)

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, codebook, indices = ctx.saved_tensors
        grad_x, grad_codebook = _OPS.soft_codes_backward(grad, x, codebook, indices, *ctx.options)
        if ctx.needs_input_grad[1]:
            grad_codebook = grad_codebook + _OPS.codebook_statistics(grad, indices, len(codebook), None)[1]
        return grad_x, grad_codebook, None, None, None


class _CrossEntropy(_Saving):
    @staticmethod
    def forward(x: Tensor, codebook: Tensor, targets: Tensor, metric: str, scale: float) -> Tensor:
        return _OPS.code_cross_entropy(x, codebook, targets, metric, scale)

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return *_OPS.code_cross_entropy_backward(grad, *ctx.saved_tensors, *ctx.options), None, None, None


class _Assignment(_Saving):
    @staticmethod
    def forward(x: Tensor, codebook: Tensor, mask: Tensor, metric: str, scale: float) -> Tensor:
        return _OPS.total_assignment(x, codebook, mask, metric, scale)

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return *_OPS.total_assignment_backward(grad, *ctx.saved_tensors, *ctx.options), None, None, None
