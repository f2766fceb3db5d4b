"""Initial codes from data: k-means++ seeding in few rounds, then Lloyd's iterations, with no host sync."""

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from .. import functional


def drawn_aside(device: torch.device) -> AbstractContextManager[None]:
    """Within it torch's generators draw as ever, after it they are where they were before: a forward that checkpointing
    repeats finds its codes made, and must draw for the rest of it what the first one drew."""
    if torch.compiler.is_compiling():
        return nullcontext()
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


def seed(rows: Tensor, keep: Tensor, size: int) -> Tensor:
    """rows [N, D], keep [N] bool → [size, D], rows drawn with odds of their squared distance to those drawn before.

    k-means++ (Arthur and Vassilvitskii 2007) draws one at a time, and so do the first 16 rounds here; later ones draw a
    sixteenth of what there is already, an idea of k-means‖ (Bahmani et al. 2012): 1024 codes take about 80 rounds. The
    draw without replacement is a race of exponential clocks: the m largest of weight/Exp(1).
    """
    weight = torch.where(keep, 1.0, -1.0)  # rows that do not count are drawn when no other is left
    codes = rows[:0]
    while len(codes) < size:
        drawn = min(len(codes) // 16 + 1, size - len(codes), len(rows))
        place = (weight / torch.empty_like(weight).exponential_()).topk(drawn).indices
        new = rows[place]
        distance = (rows - new[functional.nearest_code(rows, new).clamp(min=0)]).square().sum(-1)
        weight = torch.where(keep, distance if len(codes) == 0 else torch.minimum(weight, distance), -1.0)
        codes = torch.cat([codes, new])
    return codes


def kmeans(rows: Tensor, keep: Tensor, size: int, iterations: int, metric: str) -> tuple[Tensor, Tensor]:
    """rows [N, D] float32, keep [N] bool → centroids [size, D] and how many rows each has [size], at least 1."""
    keep = keep & rows.isfinite().all(-1)
    rows = torch.where(keep[:, None], rows, 0.0)
    codes = seed(rows, keep, size)
    counts = rows.new_ones(size)
    for _ in range(iterations):
        indices = torch.where(keep, functional.nearest_code(rows, codes, metric=metric), -1)
        counts, sums = functional.codebook_statistics(rows, indices, size)
        means = F.normalize(sums, dim=-1) if metric == "cosine" else sums / counts.clamp(min=1)[:, None]
        codes = torch.where(counts[:, None] > 0, means, codes)
    return codes, counts.clamp(min=1)


def sample_of_all_ranks(rows: Tensor, keep: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """rows [N, D], keep [N] → about `size` rows evenly spaced over all ranks, and which of them count. Every rank sends
    as many, so that batches may differ, or be empty."""
    share = -(-size // dist.get_world_size())
    message = rows.new_zeros(share, rows.shape[1] + 1)
    chosen = torch.arange(min(share, len(rows)), device=rows.device) * max(1, len(rows) // share)
    message[: len(chosen), :-1] = rows[chosen]
    message[: len(chosen), -1] = keep[chosen].float()
    gathered = [torch.empty_like(message) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, message)
    joined = torch.cat(gathered)
    return joined[:, :-1], joined[:, -1] > 0
