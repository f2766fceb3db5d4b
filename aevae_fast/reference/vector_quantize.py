"""Vector quantization with the straight-through estimator and both losses, by autograd alone.

Source: van den Oord et al., "Neural Discrete Representation Learning", 2017, equation 3.
"""

import torch
from torch import Tensor

from .nearest_code import nearest_code


def vector_quantize(
    x: Tensor,
    codebook: Tensor,
    *,
    metric: str = "euclidean",
    commitment_weight: float = 0.25,
    codebook_weight: float = 1.0,
    mask: Tensor | None = None,
    indices: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """x [..., D], codebook [K, D], mask [...] bool, True for rows that count, indices [...] in place of the search
    → quantized [..., D], indices [...], loss 0-d.

    loss = commitment_weight·mean (x - sg[e])² + codebook_weight·mean (sg[x] - e)², means over the elements that count.
    The value of quantized is the code itself, its gradient goes to x unchanged. Masked rows: index -1, zeros.
    """
    dtype = torch.promote_types(torch.promote_types(x.dtype, codebook.dtype), torch.float32)
    keep = torch.ones(x.shape[:-1], dtype=torch.bool, device=x.device) if mask is None else mask
    chosen = nearest_code(x.detach(), codebook.detach(), metric) if indices is None else indices
    indices = torch.where(keep, chosen, -1)
    kept = torch.where(keep[..., None], x, 0).to(dtype)
    code = torch.where((indices >= 0)[..., None], codebook.to(dtype)[indices.clamp(min=0)], torch.nan)
    code = torch.where(keep[..., None], code, 0)  # NaN is left where x is not finite
    elements = (keep.sum() * x.shape[-1]).clamp(min=1)
    commitment = (kept - code.detach()).square().sum() / elements
    codebook_loss = (kept.detach() - code).square().sum() / elements
    quantized = code.detach() + (kept - kept.detach())
    return quantized.to(x.dtype), indices, commitment_weight * commitment + codebook_weight * codebook_loss
