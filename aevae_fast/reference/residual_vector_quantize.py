"""Residual vector quantization: each stage quantizes what the stages before it left over.

Source: Zeghidour et al., "SoundStream", 2021 (arXiv:2107.03312), algorithm 1.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .codebook_statistics import codebook_statistics
from .nearest_code import nearest_code


def residual_vector_quantize(
    x: Tensor,
    codebooks: Sequence[Tensor],
    *,
    commitment_weight: float = 0.25,
    codebook_weight: float = 1.0,
    detach_residual: bool = True,
    active: Tensor | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """x [..., D], Q codebooks [K_q, D], active 0-d int64: stages in use, mask [...] bool, True for rows that count
    → quantized [..., D], indices [..., Q], losses [Q].

    r_0 = x, c_q the code nearest to r_q, r_{q+1} = r_q - c_q, rounded to the wider of float32 and the dtypes given.
    losses[q] = commitment_weight·mean (r_q - sg[c_q])² + codebook_weight·mean (sg[r_q] - c_q)² over the elements that
    count. With detach_residual r_q = x - Σ sg[c], so every stage pulls x; without it each code in r_q = x - Σ c passes
    its gradient straight to x, which cancels x's own in every stage after the first. The value of quantized is Σ c_q,
    its gradient goes to x unchanged. Masked rows and stages beyond `active`: index -1, zeros.
    """
    dtype = torch.promote_types(torch.promote_types(x.dtype, codebooks[0].dtype), torch.float32)
    keep = torch.ones(x.shape[:-1], dtype=torch.bool, device=x.device) if mask is None else mask
    keep = keep if active is None else keep & (active > 0)
    elements = (keep.sum() * x.shape[-1]).clamp(min=1)
    kept = torch.where(keep[..., None], x, 0).to(dtype)
    residual, total = kept, torch.zeros_like(kept)
    indices, losses = [], []
    for stage, codebook in enumerate(codebooks):
        used = keep if active is None else keep & (active > stage)
        chosen = torch.where(used, nearest_code(residual.detach(), codebook.detach()), -1)
        code = torch.where((chosen >= 0)[..., None], codebook.to(dtype)[chosen.clamp(min=0)], torch.nan)
        code = torch.where(used[..., None], code, 0)  # NaN is left where the residual is not finite
        commitment = torch.where(used[..., None], residual - code.detach(), 0).square().sum() / elements
        codebook_loss = torch.where(used[..., None], residual.detach() - code, 0).square().sum() / elements
        indices.append(chosen)
        losses.append(commitment_weight * commitment + codebook_weight * codebook_loss)
        total = total + code.detach()
        residual = residual - code.detach()
        residual = residual if detach_residual else residual.detach()
    quantized = total + (kept - kept.detach())
    return quantized.to(x.dtype), torch.stack(indices, -1), torch.stack(losses)


def residual_statistics(x: Tensor, codebooks: Sequence[Tensor], indices: Tensor) -> list[tuple[Tensor, Tensor]]:
    """x [..., D], Q codebooks [K_q, D], indices [..., Q] with -1 for what to skip → of each stage the counts [K_q] and
    sums [K_q, D] of the residuals that chose each code, float32 (float64 where x or the codebooks are)."""
    dtype = torch.promote_types(torch.promote_types(x.dtype, codebooks[0].dtype), torch.float32)
    residual, found = x.to(dtype), []
    for codebook, chosen in zip(codebooks, indices.unbind(-1), strict=True):
        found.append(codebook_statistics(residual, chosen, len(codebook)))
        residual = residual - torch.where((chosen >= 0)[..., None], codebook.to(dtype)[chosen.clamp(min=0)], 0)
    return found
