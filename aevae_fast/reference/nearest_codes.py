"""The k nearest codes, by sorting all distances."""

import torch
from torch import Tensor

from .nearest_code import distances


def nearest_codes(x: Tensor, codebook: Tensor, k: int, metric: str = "euclidean") -> tuple[Tensor, Tensor]:
    """x [..., D], codebook [K, D] → indices [..., k] int64 and their distances [..., k], nearest first, ties to the
    lowest index; -1 and NaN for a row that is not finite. Computes in the wider of float32 and the two dtypes."""
    dtype = torch.promote_types(torch.promote_types(x.dtype, codebook.dtype), torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        found = distances(x.reshape(-1, x.shape[-1]).to(dtype), codebook.to(dtype), metric)
    nearest, indices = (part[:, :k] for part in found.sort(dim=-1, stable=True))
    broken = ~x.reshape(-1, x.shape[-1]).isfinite().all(-1, keepdim=True)
    shape = (*x.shape[:-1], k)
    return indices.masked_fill(broken, -1).reshape(shape), nearest.masked_fill(broken, torch.nan).reshape(shape)
