"""Residual vector quantization a stage at a time, for rows too long to live on the chip beside the sweep.

    r_0 = x      (c_q, i_q, error_q) = vector_quantize(r_q)      r_{q+1} = r_q - c_q      quantized = Σ_q c_q

One float32 buffer of residuals and one of the sum, N·D each; a stage that is not active runs with every row masked, as
how many are is known on the device alone. The same numbers as in one kernel, bit for bit: residual_vector_quantize.py.
"""

from __future__ import annotations

import torch

from .vector_quantize import vector_quantize


def residual_by_stage(
    x: torch.Tensor, codebooks: torch.Tensor, sizes: list[int], active: torch.Tensor | None, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As residual_vector_quantize."""
    residual = x.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    total = torch.zeros_like(residual)
    indices = torch.empty((*x.shape[:2], len(sizes)), dtype=torch.int64, device=x.device)
    errors = codebooks.new_empty(len(sizes))
    for q, codebook in enumerate(codebooks.split(sizes)):
        used = mask
        if active is not None:
            used = (active > q).expand(x.shape[:2]) if mask is None else mask & (active > q)
        code, indices[..., q], errors[q] = vector_quantize(residual, codebook, used)
        residual -= code
        total += code
    return torch.empty_like(x).copy_(total), indices, errors
