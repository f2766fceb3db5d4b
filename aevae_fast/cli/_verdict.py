"""When an operation counts as right: indices up to float32's own rounding, values up to the reference's own error."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

UNIT = 2.0**-24  # float32's rounding


def wrong_indices(x: Tensor, codebook: Tensor, indices: Tensor, best: Tensor, metric: str) -> Tensor:
    """Which of `indices [N]` are wrong, given the float64 argmin `best [N]` of rows x [N, D]; [N] bool.

    Wrong is a code whose float64 distance exceeds the best one's by more than float32's own rounding of the two, which
    is (D + 2)·2⁻²⁴ of each Σ(x - c)² (for the other metrics: of each ‖x‖·‖c‖); on an exact tie, any but the lowest
    index; anything but -1 for a row that is not finite.
    """
    size, dim = codebook.shape
    finite, known = best >= 0, (indices >= 0) & (indices < size)
    first = _first_of_equals(codebook)
    best, chosen = first[best.clamp(min=0)], indices.clamp(0, size - 1)
    distance, scale = _paired(x, codebook, chosen, metric)
    least, least_scale = _paired(x, codebook, best, metric)
    beyond = distance - least > (dim + 2) * UNIT * (scale + least_scale)
    tie = (distance == least) & (chosen > best) if metric != "cosine" else torch.zeros_like(known)
    bad = ~known | beyond | tie | (first[chosen] != chosen)
    return torch.where(finite, bad, indices != -1)


def _first_of_equals(codebook: Tensor) -> Tensor:
    """For each code the lowest index at which the same code stands, [K]."""
    _, group = torch.unique(codebook, dim=0, return_inverse=True)
    place = torch.arange(len(codebook), device=codebook.device)
    first = torch.full_like(place, len(codebook)).scatter_reduce_(0, group, place, "amin")
    return first[group]


def _paired(x: Tensor, codebook: Tensor, indices: Tensor, metric: str) -> tuple[Tensor, Tensor]:
    """Distance of each row to its code and the magnitude that its rounding is proportional to, [N] float64."""
    x, codes = x.double(), codebook.double()[indices]
    if metric == "euclidean":
        distance = (x - codes).square().sum(-1)
        return distance, distance
    if metric == "cosine":
        x, codes = F.normalize(x, dim=-1), F.normalize(codes, dim=-1)
    return -(x * codes).sum(-1), x.norm(dim=-1) * codes.norm(dim=-1)


def error_share(found: Sequence[Tensor], rounding: float | Tensor) -> float:
    """Largest error of `found = (ours, the reference's in the same dtype, the float64 truth)`, in units of what is
    allowed: the reference's largest error plus `rounding`. NaN where ours is NaN."""
    ours, same_dtype, truth = (tensor.double() for tensor in found)
    if not truth.numel():
        return 0.0
    error = (ours - truth).abs().max()
    return 0.0 if error == 0 else float(error / ((same_dtype - truth).abs().max() + rounding))
