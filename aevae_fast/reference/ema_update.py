"""The EMA codebook update as van den Oord et al. 2017, appendix A.1, give it, with Laplace smoothing."""

import torch
import torch.nn.functional as F
from torch import Tensor


def ema_update(
    codebook: Tensor,
    cluster_size: Tensor,
    embed_avg: Tensor,
    counts: Tensor,
    sums: Tensor,
    *,
    decay: float = 0.99,
    eps: float = 1e-5,
    metric: str = "euclidean",
) -> tuple[Tensor, Tensor, Tensor]:
    """codebook, embed_avg, sums [K, D]; cluster_size, counts [K] → the new (codebook, cluster_size, embed_avg).

    n ← decay·n + (1 - decay)·count, m ← decay·m + (1 - decay)·sum, e = m / n̂ with n̂ = (n + eps)/(Σn + K·eps)·Σn, which
    never feeds back into n. Under the cosine metric e = m/‖m‖. Counts that are all 0 leave everything as it was.
    """
    if not counts.any():
        return codebook, cluster_size, embed_avg
    cluster_size = decay * cluster_size + (1 - decay) * counts
    embed_avg = decay * embed_avg + (1 - decay) * sums
    if metric == "cosine":
        moved, used = F.normalize(embed_avg, dim=1), (embed_avg != 0).any(1, keepdim=True)
    else:
        total = cluster_size.sum()
        smoothed = (cluster_size + eps) / (total + len(codebook) * eps) * total
        moved, used = embed_avg / smoothed[:, None], total > 0
    return torch.where(used, moved, codebook), cluster_size, embed_avg


def replace_dead(
    codebook: Tensor,
    cluster_size: Tensor,
    embed_avg: Tensor,
    replacements: Tensor,
    *,
    threshold: Tensor | float,
    grace: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The same three, where each code with n < threshold is its replacement, r of [r·j ‖ j] in replacements [K, D + 1],
    n = grace·threshold and m = r·n: all three, as its old sum would pull a code back. Not where j is 0."""
    together = replacements[:, -1:]
    dead = (cluster_size < threshold) & (together[:, 0] > 0)
    row, fresh = replacements[:, :-1] / together.clamp(min=1), grace * torch.as_tensor(threshold).to(cluster_size)
    return (
        torch.where(dead[:, None], row, codebook),
        torch.where(dead, fresh, cluster_size),
        torch.where(dead[:, None], row * fresh, embed_avg),
    )
