"""`finite_scalar_quantize`: bound, round, straight-through gradient and index in one pass, its backward in another."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from .. import reference
from ._autograd import first_order
from ._checks import as_rows, check_choice, check_input, check_rows
from ._codebooks import Parts, check_codebooks
from ._dispatch import Impl, choose, run
from ._levels import VARIANTS, Bounds, bounds, check_levels


def finite_scalar_quantize(
    x: Tensor,
    levels: list[int] | tuple[int, ...],
    *,
    variant: str = "tanh",
    noise_dropout: float = 0.0,
    codebooks: int | None = None,
    mask: Tensor | None = None,
    dim: int = -1,
    impl: Impl | None = None,
) -> tuple[Tensor, Tensor]:
    """Round each entry of x to one of its dimension's levels, which lie evenly in [-1, 1]; Mentzer et al. 2023
    (arXiv:2309.15505).

    Args:
        x: vectors of D entries along axis `dim`, any strides: `[..., D]`, or `[B, D, H, W]` with `dim=1`, read and
            written in place. float16, bfloat16, float32; float64 goes to the reference.
        levels: how many each of the D dimensions has: at least 3, or 2 for a symmetric variant. There are as many codes
            as their product.
        variant: how an entry is bounded and rounded to one of L levels.
            "tanh": tanh(x + shift)·(L - 1)/2·1.001 - offset, half to even, over ⌊L/2⌋; offset is ½ where L is even, and
            shift takes 0 to 0. vector-quantize-pytorch of 1.14 and later, Cosmos.
            "tan": the paper's listing, and that library at 1.10: the shift by a tangent, and 0.999.
            "ifsq": 2σ(1.6·x) - 1 in place of tanh, nothing stretched: nearer to uniform use of the levels.
            "symmetric": 2·⌊(L - 1)·(tanh(x) + 1)/2 + ½⌋/(L - 1) - 1; Parker et al. 2024 (arXiv:2411.19842).
            "clamp", "symmetric_clamp": as "tanh" and "symmetric" with a clamp to [-1, 1] in place of tanh.
        noise_dropout: share of the entries whose value is not rounded but takes uniform noise, one level wide, from
            torch's generator: what rounding looks like to a decoder, with a smooth gradient (Parker et al., section
            3.2). Indices and gradients are as without.
        codebooks: x holds so many vectors of D entries, one after the other; indices get a last axis for them. None:
            one, and no axis.
        mask: bool, x's shape without `dim`, True for vectors that count.
        dim: the axis of x that holds the vectors.
        impl: force "reference", "portable" or "triton"; None lets the device decide.

    Returns:
        quantized: like x (dtype, shape, strides); the code, with the gradient of the bounded x. 0 where masked.
        indices: int64, x's shape without `dim`; the first dimension is the lowest digit. -1 where masked or not finite.

    Raises:
        TypeError, ValueError: a dtype, shape, device or option that does not fit, named.
    """
    check_choice("variant", variant, VARIANTS)
    counts = check_levels(levels, variant)
    check_input(x, dim)
    check_codebooks(codebooks, x, dim)
    if x.shape[dim] != len(counts) * (codebooks or 1):
        raise ValueError(
            f"x must hold {codebooks or 1} times {len(counts)} entries (one for each of levels) along dim {dim}; "
            f"got x of shape {tuple(x.shape)} and levels {counts}"
        )
    if not 0 <= noise_dropout <= 1:
        raise ValueError(f"noise_dropout must lie in [0, 1]; got {noise_dropout}")
    if mask is not None:
        check_rows("mask", mask, torch.bool, x, dim)
    impl_ = choose(impl, x)
    parts = Parts(x, dim, codebooks)
    last, mask = parts.last(x), parts.mask(mask)
    noise = _draw(last, noise_dropout) if noise_dropout > 0 else None
    if impl_ == "reference":
        quantized, indices = reference.finite_scalar_quantize(last, counts, variant=variant, mask=mask, noise=noise)
    else:
        rows = as_rows(last, -1)
        row_mask = None if mask is None else mask.reshape(rows.shape[:2])
        row_noise = None if noise is None else noise.reshape(rows.shape)
        args = (rows, row_mask, row_noise, bounds(counts, variant), impl_)
        quantized, indices = _FiniteScalarQuantize.apply(*args)
    return parts.restored(quantized), parts.indices(indices)


def _draw(x: Tensor, share: float) -> Tensor:
    """U(-½, ½) for that share of the entries, NaN for the others; float32."""
    chosen, noise = torch.rand(2, *x.shape, device=x.device)
    return torch.where(chosen < share, noise - 0.5, torch.nan)


class _FiniteScalarQuantize(Function):
    """x [B, S, D]. Saves x and the mask: nothing that the caller does not hold anyway."""

    @staticmethod
    def forward(
        x: Tensor, mask: Tensor | None, noise: Tensor | None, scheme: Bounds, impl: str
    ) -> tuple[Tensor, Tensor]:
        return run("finite_scalar_quantize", impl, x, *scheme, mask, noise)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, mask, _, ctx.scheme, ctx.impl = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, mask)

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor | None, _: Any) -> tuple[Tensor | None, ...]:
        x, mask = ctx.saved_tensors
        found = None if grad is None else run("finite_scalar_quantize_backward", ctx.impl, grad, x, *ctx.scheme, mask)
        return found, None, None, None, None
