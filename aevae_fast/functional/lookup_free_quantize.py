"""`lookup_free_quantize`: signs, index, commitment and per-sample entropy in one pass; the batch's entropy beside."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from .. import reference
from ._autograd import first_order
from ._checks import check_input, check_rows
from ._codebooks import Parts, check_codebooks, count
from ._dispatch import Impl, choose, run
from .code_probabilities import batch_entropy

_MOST_BITS = 62


class LookupFree(NamedTuple):
    """What `lookup_free_quantize` returns."""

    quantized: Tensor
    indices: Tensor
    commitment: Tensor
    per_sample_entropy: Tensor
    batch_entropy: Tensor


def lookup_free_quantize(
    x: Tensor,
    *,
    scale: float = 1.0,
    inv_temperature: float = 100.0,
    entropy: bool = True,
    group_size: int | None = None,
    codebooks: int | None = None,
    sync: bool = False,
    mask: Tensor | None = None,
    dim: int = -1,
    impl: Impl | None = None,
) -> LookupFree:
    """Replace each entry of x by its sign; the bits of a vector are its index. Yu et al. 2023, MAGVIT-v2
    (arXiv:2310.05737), section 3.1.

    The entropies belong to the soft assignment p(c | x) ∝ exp(2·inv_temperature·xᵀc) over the 2^b codes c of b entries
    ±scale, which is a product over bits: bit d is 1 with probability σ(4·inv_temperature·scale·x_d). So the entropy
    given x is a sum of b binary ones, exactly. That of the batch's mean, H(E[p]), is taken over groups of bits, as
    Zhao et al. 2024, BSQ (arXiv:2406.07548) do: Σ_g H(E[p_g]), which is never below H(E[p]) and equals it for one group
    of all bits. Neither takes memory that grows with N·2^b. The entropy loss of the paper is per_sample_entropy -
    γ·batch_entropy.

    Args:
        x: vectors of b entries along axis `dim`, any strides, b at most 62: `[..., b]`, or `[B, b, H, W]` with `dim=1`,
            read and written in place. float16, bfloat16, float32; float64 goes to the reference.
        scale: magnitude of a code's entries.
        inv_temperature: of the soft assignment; above 0.
        entropy: whether the entropies are asked for; where not they are 0.
        group_size: bits of a group, at most 20; the last may be smaller. None: all where they are at most 12, else
            groups of at most 9.
        codebooks: x holds so many vectors of b entries, one after the other; indices get a last axis for them.
            None: one, and no axis.
        sync: take E[p] over the ranks of `torch.distributed` too, by one all-reduce. The gradient is the one of the
            joined batch under DDP, which averages gradients; it is the same loss on every rank.
        mask: bool, x's shape without `dim`, True for vectors that count.
        dim: the axis of x that holds the vectors.
        impl: force "reference", "portable" or "triton"; None lets the device decide.

    Returns:
        quantized: like x (dtype, shape, strides); scale·sign(x), 0 counting as below 0, with a gradient that passes to
            x unchanged. 0 where masked.
        indices: int64, x's shape without `dim`, the first bit the highest; -1 where masked or not finite.
        commitment: mean (x - sg[quantized])² over the elements that count.
        per_sample_entropy, batch_entropy: E[H(p)] and Σ_g H(E[p_g]) in nats, means over codebooks. All three 0-d
            float32 (float64 for float64 x), not finite if a vector that counts is not.

    Raises:
        TypeError, ValueError: a dtype, shape, device or option that does not fit, named.
    """
    check_input(x, dim)
    check_codebooks(codebooks, x, dim)
    bits = x.shape[dim] // (codebooks or 1)
    if not 1 <= bits <= _MOST_BITS:
        raise ValueError(f"x must hold vectors of 1 to {_MOST_BITS} entries along dim {dim}; got {bits}")
    if not scale > 0:
        raise ValueError(f"scale must be above 0; got {scale}")
    if not inv_temperature > 0:
        raise ValueError(f"inv_temperature must be above 0; got {inv_temperature}")
    group = check_group_size(group_size, bits)
    if mask is not None:
        check_rows("mask", mask, torch.bool, x, dim)
    impl_ = choose(impl, x)
    slope = 4.0 * inv_temperature * scale
    parts = Parts(x, dim, codebooks)
    part_mask = parts.mask(mask)
    if impl_ == "reference":
        last = parts.last(x)
        quantized, indices, commitment, per_sample = reference.lookup_free_quantize(
            last, scale=scale, slope=slope, mask=part_mask
        )
    else:
        rows = parts.rows(x)
        row_mask = None if part_mask is None else part_mask.reshape(rows.shape[:2])
        args = (rows, row_mask, float(scale), slope if entropy else 0.0, impl_)
        quantized, indices, commitment, per_sample = _LookupFreeQuantize.apply(*args)
    over_batch = per_sample = per_sample if entropy else torch.zeros_like(commitment)
    if entropy:
        over_batch = batch_entropy(x, mask, slope, bits, group, dim, sync, impl_)
    return LookupFree(parts.restored(quantized), parts.indices(indices), commitment, per_sample, over_batch)


def check_group_size(group_size: int | None, bits: int) -> int:
    """Bits of a group, at most as many as there are."""
    if group_size is None:
        groups = 1 if bits <= 12 else -(-bits // 9)
        return -(-bits // groups)
    if not isinstance(group_size, int) or not 1 <= group_size <= 20:
        raise ValueError(f"group_size must be None or a number of bits from 1 to 20; got {group_size!r}")
    return min(group_size, bits)


class _LookupFreeQuantize(Function):
    """x [B, S, D]. Saves x and the mask: nothing that the caller does not hold anyway."""

    @staticmethod
    def forward(x: Tensor, mask: Tensor | None, scale: float, slope: float, impl: str) -> tuple[Tensor, ...]:
        quantized, indices, error, entropy = run("lookup_free_quantize", impl, x, mask, scale, slope)
        rows = count(mask, x.shape[0] * x.shape[1])
        return quantized, indices, error / (rows * x.shape[2]), entropy / rows

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, mask, ctx.scale, ctx.slope, ctx.impl = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, mask)

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor | None, _: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        x, mask = ctx.saved_tensors
        grad = x.new_zeros(()).expand(x.shape) if grad is None else grad
        zero = torch.zeros((), dtype=torch.float32, device=x.device)
        grad_error, grad_entropy = (zero if g is None else g for g in grads)
        rows = count(mask, x.shape[0] * x.shape[1])
        scales = (grad_error * (2.0 / (rows * x.shape[2])), grad_entropy / rows)
        args = (grad, x, mask, ctx.scale, ctx.slope, *scales)
        return run("lookup_free_quantize_backward", ctx.impl, *args), None, None, None, None
