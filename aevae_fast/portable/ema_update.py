"""The EMA codebook update, in place. Specification: `aevae_fast.reference.ema_update`."""

import torch
import torch.nn.functional as F
from torch import Tensor


def ema_update_(
    codebook: Tensor,
    cluster_size: Tensor,
    embed_avg: Tensor,
    counts: Tensor,
    sums: Tensor,
    decay: float,
    eps: float,
    normalize: bool,
    replacements: Tensor | None = None,
    share: float = 0.0,
    least: float = 0.0,
    grace: float = 1.0,
    steps: Tensor | None = None,
) -> None:
    """codebook, embed_avg and sums [K, D], cluster_size and counts [K], all float32. The first three change; so does
    steps [], int64, by 1 where anything was counted. replacements [K, D + 1] float32."""
    seen = counts.any()
    weight = (1 - decay) * seen
    cluster_size.lerp_(counts, weight)
    embed_avg.lerp_(sums, weight)
    if normalize:
        moved, used = F.normalize(embed_avg, dim=1), embed_avg.any(1, keepdim=True)
    else:
        total = cluster_size.sum()
        moved, used = embed_avg / ((cluster_size + eps) / (total + len(codebook) * eps) * total)[:, None], total > 0
    codebook.copy_(torch.where(seen & used, moved, codebook))
    if replacements is not None:
        threshold = share * cluster_size.mean() + least if share else torch.full_like(cluster_size[0], least)
        row, together = replacements[:, :-1], replacements[:, -1]
        dead = (cluster_size < threshold) & (together > 0) & seen
        row, fresh = row / together.clamp(min=1)[:, None], grace * threshold
        cluster_size.copy_(torch.where(dead, fresh, cluster_size))
        codebook.copy_(torch.where(dead[:, None], row, codebook))
        embed_avg.copy_(torch.where(dead[:, None], row * fresh, embed_avg))
    if steps is not None:
        steps.add_(seen)
