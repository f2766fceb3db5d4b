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
    cluster_size.lerp_(counts, 1 - decay)
    embed_avg.lerp_(sums, 1 - decay)
    if normalize:
        codebook.copy_(torch.where(embed_avg.any(1, keepdim=True), F.normalize(embed_avg, dim=1), codebook))
        return
    total = cluster_size.sum()
    smoothed = (cluster_size + eps) / (total + len(codebook) * eps) * total
    codebook.copy_(torch.where(total > 0, embed_avg / smoothed[:, None], codebook))
