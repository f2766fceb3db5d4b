"""Nearest code, as plainly as it can be said. The truth that every faster implementation is held against."""

import torch
import torch.nn.functional as F
from torch import Tensor

_ELEMENTS = 1 << 24  # of the [n, K, D] differences held at a time


def distances(x: Tensor, codebook: Tensor, metric: str) -> Tensor:
    """x [n, D] and codebook [K, D] → [n, K], smaller is nearer: Σ(x - c)², 1 - cos(x, c), or -x·c."""
    if metric == "euclidean":
        return (x[:, None] - codebook).square().sum(-1)
    if metric == "cosine":
        return 1 - F.normalize(x, dim=-1) @ F.normalize(codebook, dim=-1).T
    return -(x @ codebook.T)


def nearest_code(x: Tensor, codebook: Tensor, metric: str = "euclidean") -> Tensor:
    """x [..., D], codebook [K, D] → indices [...] int64, the lowest one where several are equally near, -1 for a row
    with a NaN or an infinity in it. Computes in the wider of float32 and the two dtypes, also under autocast."""
    dtype = torch.promote_types(torch.promote_types(x.dtype, codebook.dtype), torch.float32)
    rows, codebook = x.reshape(-1, x.shape[-1]).to(dtype), codebook.to(dtype)
    step = max(1, _ELEMENTS // codebook.numel())
    with torch.autocast(x.device.type, enabled=False):
        nearest = torch.cat([distances(part, codebook, metric).argmin(-1) for part in rows.split(step)])
    return torch.where(rows.isfinite().all(-1), nearest, -1).reshape(x.shape[:-1])
