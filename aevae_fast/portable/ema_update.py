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
) -> None:
    """codebook, embed_avg and sums [K, D], cluster_size and counts [K], all float32. The first three change."""
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
