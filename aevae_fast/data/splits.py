"""Fixed splits into training and held-out images."""

import torch
from torch import Tensor

_SPLIT_SEED = 2017  # one split for everyone, whatever the seed of a run


def stratified_split(labels: Tensor, held_out_per_class: int) -> tuple[Tensor, Tensor]:
    """Part indices so that every class has `held_out_per_class` held-out items; the same parts on every call.

    Args:
        labels: integer `[N]`.
        held_out_per_class: how many of each class to hold out.

    Returns:
        (train, held_out): sorted int64 indices.

    Raises:
        ValueError: a class has too few items to leave one for training.
    """
    generator = torch.Generator().manual_seed(_SPLIT_SEED)
    held_out = []
    for label in labels.unique(sorted=True):
        members = (labels == label).nonzero().flatten()
        if len(members) <= held_out_per_class:
            raise ValueError(
                f"labels: expected more than {held_out_per_class} items of class {label}, got {len(members)}"
            )
        held_out.append(members[torch.randperm(len(members), generator=generator)[:held_out_per_class]])
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    chosen[torch.cat(held_out)] = True
    return (~chosen).nonzero().flatten(), chosen.nonzero().flatten()


def random_split(count: int, held_out_share: float = 0.1) -> tuple[list[int], list[int]]:
    """Part `range(count)` at random, at least one item on each side; the same parts on every call.

    Raises:
        ValueError: fewer than two items.
    """
    if count < 2:
        raise ValueError(f"data: expected at least 2 images, one to train on and one to hold out, got {count}")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(_SPLIT_SEED)).tolist()
    held_out = min(count - 1, max(1, round(count * held_out_share)))
    return sorted(order[held_out:]), sorted(order[:held_out])
