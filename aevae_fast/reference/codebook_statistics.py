"""How many rows chose each code, and their sum: the one-hot matrix product, written out."""

import torch
from torch import Tensor


def codebook_statistics(x: Tensor, indices: Tensor, codebook_size: int) -> tuple[Tensor, Tensor]:
    """x [..., D], indices [...] int64 with -1 for rows to skip → counts [K] and sums [K, D], float32 (float64 for x in
    float64)."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    rows = torch.where((indices >= 0)[..., None], x, 0).reshape(-1, x.shape[-1]).to(dtype)
    one_hot = (indices.reshape(-1, 1) == torch.arange(codebook_size, device=x.device)).to(dtype)
    with torch.autocast(x.device.type, enabled=False):
        return one_hot.sum(0), one_hot.T @ rows
