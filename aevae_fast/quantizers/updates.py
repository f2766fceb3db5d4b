"""Codebooks move once per optimizer step: a hook that PyTorch calls after every `torch.optim.Optimizer.step`.

All codebooks whose statistics have arrived since the last step move together, after one all-reduce for all of them. A
step that a gradient scaler skips does not call the hook (a fused optimizer's does), and the statistics wait for the
next. Where several optimizers step at different times, `VectorQuantize.step_with` names the one that counts.

Every rank must take part in that all-reduce for the same layers. A layer that some ranks may not use between two steps
needs a name for its optimizer, by `step_with`: then it takes part in each of its steps, on a rank without statistics
with zeros. k-means initialisation, in the first forward, needs all ranks.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
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
_waiting: "list[tuple[Codebook, Tensor, Tensor]] | None" = None  # for the end of a `together`


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
            arrived.append((codebook, count_leaf.grad, sum_leaf.grad))
            count_leaf.grad = sum_leaf.grad = None
        elif codebook.optimizer is not None and codebook.shared and codebook.training and not codebook.frozen:
            codebook.candidates.zero_()  # of an earlier batch
            arrived.append((codebook, torch.zeros_like(count_leaf), torch.zeros_like(sum_leaf)))
    move(arrived)


@torch.no_grad()
def move(arrived: "list[tuple[Codebook, Tensor, Tensor]]") -> None:
    """Move these codebooks by their counts and sums, summed over ranks in one all-reduce; what has come several times
    for one codebook is added up."""
    if _waiting is not None:
        _waiting.extend(arrived)
        return
    joined: dict[Codebook, tuple[Tensor, Tensor]] = {}
    for codebook, counts, sums in arrived:
        before = joined.get(codebook)
        joined[codebook] = (counts, sums) if before is None else (before[0] + counts, before[1] + sums)
    statistics = {codebook: codebook.statistics(counts, sums) for codebook, (counts, sums) in joined.items()}
    shared = [codebook for codebook in joined if codebook.shared]
    if shared:
        own = [part for codebook in shared for part in statistics[codebook]]
        message = torch.cat([part.flatten() for part in own])
        dist.all_reduce(message)
        summed = iter(message.split([part.numel() for part in own]))
        for codebook in shared:
            statistics[codebook] = tuple(next(summed).view_as(part) for part in statistics[codebook])
    for codebook, parts in statistics.items():
        codebook.move(*parts)


@contextmanager
def together() -> Iterator[None]:
    """Codebooks that would move within it move at its end, all in one go: stages and groups of one forward."""
    global _waiting
    if _waiting is not None:  # an outer one ends later
        yield
        return
    _waiting = []
    try:
        yield
        arrived = _waiting
    finally:
        _waiting = None
    move(arrived)


register_optimizer_step_post_hook(update_codebooks)
