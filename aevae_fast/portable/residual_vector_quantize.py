"""Residual vector quantization, stage by stage: search, subtraction, squared error; and its gradient.

Specification: `aevae_fast.reference.residual_vector_quantize`.
"""

import torch
from torch import Tensor

from .codebook_statistics import codebook_statistics
from .nearest_code import nearest_code


def residual_vector_quantize(
    x: Tensor, codebooks: Tensor, sizes: list[int], active: Tensor | None, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """x [B, S, D], codebooks [ΣK, D] float32, active 0-d int64 or None, mask [B, S] bool or None → quantized like x,
    indices [B, S, Q] int64 and the summed squared error of each stage over kept rows, [Q] float32."""
    keep = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
    residual = x.float().masked_fill(~keep[..., None], 0.0)
    total = torch.zeros_like(residual)
    indices = torch.empty(*x.shape[:2], len(sizes), dtype=torch.int64, device=x.device)
    errors = torch.zeros(len(sizes), device=x.device)
    for stage, codebook in enumerate(codebooks.split(sizes)):
        used = keep if active is None else keep & (active > stage)
        chosen = nearest_code(residual, codebook, "euclidean").masked_fill_(~used, -1)
        code = codebook[chosen.clamp(min=0)].masked_fill_((chosen < 0)[..., None], torch.nan)
        code.masked_fill_(~used[..., None], 0.0)
        residual -= code
        total += code
        errors[stage] = residual.masked_fill(~used[..., None], 0.0).square_().sum()
        indices[..., stage] = chosen
    return torch.empty_like(x).copy_(total), indices, errors


def residual_vector_quantize_backward(
    grad: Tensor, x: Tensor, codebooks: Tensor, sizes: list[int], indices: Tensor, scales: Tensor
) -> Tensor:
    """grad + Σ_q scales[q]·r_{q+1} over the stages that a row used, 0 for rows that used none, NaN where x is not
    finite. grad and x [B, S, D], scales [Q] float32 → like x."""
    residual, total = x.float(), grad.float()
    for stage, codebook in enumerate(codebooks.split(sizes)):
        chosen = indices[..., stage]
        unused = (chosen < 0)[..., None]
        residual = residual - codebook[chosen.clamp(min=0)].masked_fill_(unused, 0.0)
        total = total + (residual * scales[stage]).masked_fill_(unused, 0.0)
    unused = (indices < 0).all(-1, keepdim=True)
    total = torch.where(unused, x.float() * 0, total)
    return torch.empty_like(x).copy_(total)


def residual_statistics(
    x: Tensor, codebooks: Tensor, sizes: list[int], indices: Tensor, center: bool
) -> tuple[Tensor, Tensor]:
    """x [B, S, D], indices [B, S, Q] int64 with -1 to skip → counts [ΣK] and sums [ΣK, D], float32, of the residuals
    that chose each code; of what they leave over, r_q - c_q, with center."""
    residual, counts, sums = x.float(), [], []
    for stage, codebook in enumerate(codebooks.split(sizes)):
        chosen = indices[..., stage]
        found = codebook_statistics(residual, chosen, len(codebook), codebook if center else None)
        residual = residual - codebook[chosen.clamp(min=0)].masked_fill_((chosen < 0)[..., None], 0.0)
        counts.append(found[0])
        sums.append(found[1])
    return torch.cat(counts), torch.cat(sums)
