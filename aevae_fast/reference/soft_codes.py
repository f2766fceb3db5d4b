"""Soft assignments to codes: softmax of similarity/temperature over all codes, by autograd alone."""

import torch
import torch.nn.functional as F
from torch import Tensor


def similarity(x: Tensor, codebook: Tensor, metric: str) -> Tensor:
    """x [..., D], codebook [K, D] → [..., K]: -‖x - c‖ (of a squared distance of at least 1e-8) or x·c."""
    if metric == "dot":
        return x @ codebook.T
    return -(x[..., None, :] - codebook).square().sum(-1).clamp(min=1e-8).sqrt()


def soft_straight_through(x: Tensor, codebook: Tensor, indices: Tensor, metric: str, temperature: float) -> Tensor:
    """Σ_k (onehot + p - sg[p])_k c_k: the value of the chosen code, the gradient of all. Where an index is -1: NaN."""
    p = (similarity(x, codebook, metric) / temperature).softmax(-1)
    chosen = codebook[indices.clamp(min=0)].where((indices >= 0)[..., None], torch.nan)
    soft = p @ codebook.detach()
    return chosen + (soft - soft.detach()).where((indices >= 0)[..., None], 0.0)


def code_cross_entropy(x: Tensor, codebook: Tensor, targets: Tensor, metric: str, temperature: float) -> Tensor:
    """Mean of -log p(target) over targets that are not -1; 0 where there is none."""
    scores = (similarity(x, codebook, metric) / temperature).flatten(0, -2)
    total = F.cross_entropy(scores, targets.flatten(), ignore_index=-1, reduction="sum")
    return total / (targets >= 0).sum().clamp(min=1)


def total_assignment(x: Tensor, codebook: Tensor, mask: Tensor, metric: str, temperature: float) -> Tensor:
    """Sum of p [..., K] over the vectors that count, [K]."""
    p = (similarity(x, codebook, metric) / temperature).softmax(-1)
    return p.where(mask[..., None], 0.0).flatten(0, -2).sum(0)
