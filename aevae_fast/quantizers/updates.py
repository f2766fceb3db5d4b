"""Codebooks move once per optimizer step: a hook that PyTorch calls after every `torch.optim.Optimizer.step`.

All codebooks whose statistics have arrived since the last step move together, after one all-reduce for all of them, so
every rank must have used the same layers. A step that a gradient scaler skips does not call the hook (a fused
optimizer's does), and the statistics wait for the next. Where several optimizers step at different times,
`VectorQuantize.step_with` names the one that counts.
"""

import itertools
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

if TYPE_CHECKING:
    from .codebook import Codebook

_codebooks: "WeakValueDictionary[int, Codebook]" = WeakValueDictionary()  # in order of creation, alike on all ranks
_numbers = itertools.count()


def register(codebook: "Codebook") -> None:
    """Let `codebook` take part, once; its leaves may be replaced later."""
    if all(known is not codebook for known in _codebooks.values()):
        _codebooks[next(_numbers)] = codebook


def update_codebooks(optimizer: Optimizer | None = None, *_: Any) -> None:
    """Move every codebook that has statistics waiting. Called after each optimizer step; call it yourself only where no
    `torch.optim.Optimizer` steps. Waits for no device."""
    arrived = []
    for codebook in list(_codebooks.values()):
        if optimizer is not None and codebook.optimizer is not None and codebook.optimizer() is not optimizer:
            continue
        count_leaf, sum_leaf = codebook.sinks
        if count_leaf.grad is not None and sum_leaf.grad is not None:
            if not codebook.frozen:
                arrived.append((codebook, count_leaf.grad, sum_leaf.grad))
            count_leaf.grad = sum_leaf.grad = None
    move(arrived)


@torch.no_grad()
def move(arrived: "list[tuple[Codebook, Tensor, Tensor]]") -> None:
    """Move these codebooks by their counts and sums, summed over ranks in one all-reduce."""
    statistics = [codebook.statistics(counts, sums) for codebook, counts, sums in arrived]
    shared = [i for i, (codebook, _, _) in enumerate(arrived) if codebook.shared]
    if shared:
        joined = torch.cat([statistics[i].flatten() for i in shared])
        dist.all_reduce(joined)
        for i, part in zip(shared, joined.split([statistics[i].numel() for i in shared]), strict=True):
            statistics[i] = part.view_as(statistics[i])
    for (codebook, _, _), summed in zip(arrived, statistics, strict=True):
        codebook.move(summed)


register_optimizer_step_post_hook(update_codebooks)
