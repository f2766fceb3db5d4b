"""Lookup-free quantization and the entropies of its soft assignment, by autograd alone.

Sources: Yu et al., "Language Model Beats Diffusion", 2023 (arXiv:2310.05737), section 3.1; for the factorised entropy
of groups of bits Zhao et al., "Image and Video Tokenization with Binary Spherical Quantization", 2024
(arXiv:2406.07548).
"""

import itertools

import torch
from torch import Tensor


def lookup_free_quantize(
    x: Tensor, *, scale: float = 1.0, slope: float = 400.0, mask: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x [..., D], mask [...] bool, True for rows that count → quantized [..., D], indices [...], commitment and
    per-sample entropy 0-d.

    quantized is scale·sign(x), with 0 below 0, and a gradient that passes unchanged; its bits make the index, the first
    the highest. Commitment is mean (x - sg[quantized])² over the elements that count. A code's probability given x is
    Π_d σ(±slope·x_d), so its entropy is the sum of those of its bits; nats, mean over the rows that count. A masked
    row: index -1, zeros; one that is not finite: index -1, NaN.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    keep = torch.ones(x.shape[:-1], dtype=torch.bool, device=x.device) if mask is None else mask
    kept = torch.where(keep[..., None], x, 0).to(dtype)
    finite = kept.isfinite().all(-1)
    above = kept > 0
    code = torch.where(above, scale, -scale).to(dtype)
    place = 2 ** torch.arange(x.shape[-1] - 1, -1, -1, device=x.device)
    indices = torch.where(keep & finite, (above * place).sum(-1), -1)

    rows = keep.sum().clamp(min=1)
    errors = torch.where(keep[..., None], (kept - code).square(), 0)
    bits = slope * kept
    entropies = -torch.sigmoid(bits) * torch.nn.functional.logsigmoid(bits)
    entropies = entropies - torch.sigmoid(-bits) * torch.nn.functional.logsigmoid(-bits)
    entropies = torch.where(keep[..., None], entropies, 0)
    value = torch.where(finite[..., None], code, torch.nan) * keep[..., None]
    value = torch.where(keep[..., None], value, 0)
    quantized = value + (kept - kept.detach()).nan_to_num()
    return quantized.to(x.dtype), indices, errors.sum() / (rows * x.shape[-1]), entropies.sum() / rows


def code_probabilities(x: Tensor, slope: float, bits: int, group: int, mask: Tensor | None = None) -> Tensor:
    """Σ over the rows of x [..., C·bits] that count of the probability of every code of each group of at most `group`
    bits → [C, groups, 2^group]; what a smaller last group does not have is 0."""
    rows = x.flatten(0, -2).to(torch.promote_types(x.dtype, torch.float32))
    rows = rows if mask is None else rows[mask.flatten()]
    tables = []
    for codebook in rows.split(bits, -1):
        for part in codebook.split(group, -1):
            size = part.shape[-1]
            sign = torch.tensor(list(itertools.product((-1, 1), repeat=size)), device=x.device)  # [2^size, size]
            joint = torch.sigmoid(slope * part[:, None] * sign).prod(-1)
            tables.append(torch.nn.functional.pad(joint.sum(0), (0, 2**group - 2**size)))
    return torch.stack(tables).unflatten(0, (x.shape[-1] // bits, -1))
