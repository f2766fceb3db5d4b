"""The entropy of a batch's mean assignment to the codes of groups of bits; nothing has N·2^bits entries."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function
from torch.distributed import _functional_collectives as collectives

from .. import reference
from ._autograd import first_order
from ._checks import as_rows
from ._codebooks import count
from ._dispatch import run


def batch_entropy(
    x: Tensor, mask: Tensor | None, slope: float, bits: int, group: int, dim: int, sync: bool, impl: str
) -> Tensor:
    """Σ_g H(E[p_g]) over groups of `group` of the `bits` bits of each codebook, nats, mean over codebooks; 0-d.

    x holds C·bits entries along `dim`; a bit is 1 with probability σ(slope·x). sync: E over all ranks.
    """
    last = x.movedim(dim, -1)
    if impl == "reference":
        table = reference.code_probabilities(last, slope, bits, group, mask)
    else:
        rows = as_rows(x, dim)
        row_mask = None if mask is None else mask.reshape(rows.shape[:2])
        table = _CodeProbabilities.apply(rows, row_mask, slope, bits, group, impl)
    number = count(mask, last.numel() // last.shape[-1])
    total = number.to(table.dtype) if isinstance(number, Tensor) else table.new_full((), number)
    if sync and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        joined = SumOverRanks.apply(torch.cat([table.flatten(), total[None]]))
        table, total = joined[:-1].view_as(table), joined[-1].detach()
    share = table / total
    tiny = torch.finfo(table.dtype).tiny
    # Not xlogy: at 0 its gradient is infinite, and a code of no probability has no use for one.
    return -(share * share.clamp(min=tiny).log()).sum() / len(table)


class _CodeProbabilities(Function):
    """x [B, S, C·bits] → sums over rows, [C, groups, 2^group] float32. Saves x and the mask."""

    @staticmethod
    def forward(x: Tensor, mask: Tensor | None, slope: float, bits: int, group: int, impl: str) -> Tensor:
        return run("code_probabilities", impl, x, mask, slope, bits, group)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.options, ctx.impl = inputs[2:5], inputs[5]

    @staticmethod
    @first_order
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        found = run("code_probabilities_backward", ctx.impl, grad.contiguous(), *ctx.saved_tensors, *ctx.options)
        return found, None, None, None, None, None


class SumOverRanks(Function):
    """A sum that every rank makes the same use of: each has the same gradient of it, so that theirs add up to as many
    times their own, without another exchange."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return collectives.wait_tensor(collectives.all_reduce(x, "sum", dist.distributed_c10d._get_default_group()))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * dist.get_world_size()
