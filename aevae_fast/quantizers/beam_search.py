"""Several candidates for each vector's codes, of which the stages of a residual quantizer keep the best."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import functional


@torch.no_grad()
def search_beams(x: Tensor, codebooks: Sequence[Tensor], width: int, active: Tensor | None = None) -> Tensor:
    """x [..., D], codebooks [K_q, D] of Q stages → indices [..., Q] int64.

    After each stage the `width` sums of codes nearest to x go on, each with its `width` nearest codes of the next
    stage; width 1 is the greedy search. active, 0-d int64: how many stages are used, None for all. Index -1 for a stage
    that is not, and for a vector that is not finite. Plain PyTorch; Q·width copies of x at most are held at a time.
    """
    stages = len(codebooks)
    residual = x.detach().reshape(-1, 1, x.shape[-1])  # [N, beams, D]
    residual = residual if residual.dtype == torch.float64 else residual.float()
    paths = torch.empty(*residual.shape[:2], 0, dtype=torch.int64, device=x.device)  # [N, beams, stages so far]
    best = []  # after each stage
    for codebook in codebooks:
        near, distances = functional.nearest_codes(residual, codebook, min(width, len(codebook)))
        # Stable: of two sums as near the first is kept, whatever the device.
        order = distances.flatten(1).sort(dim=1, stable=True).indices[:, :width]
        parent, code = order // near.shape[2], near.flatten(1).gather(1, order)
        residual = _of(parent, residual) - codebook[code]
        paths = torch.cat([_of(parent, paths), code[..., None]], 2)
        best.append(F.pad(paths[:, 0], (0, stages - paths.shape[2]), value=-1))
    indices = best[-1]
    if active is not None:
        last = (active - 1).clamp(0, stages - 1)
        used = torch.arange(stages, device=x.device) < active
        indices = torch.stack(best).index_select(0, last.view(1)).squeeze(0).where(used, -1)
    return indices.view(*x.shape[:-1], stages)


def _of(parent: Tensor, beams: Tensor) -> Tensor:
    """beams [N, beams, ...] of the parents [N, kept]."""
    return beams.gather(1, parent[..., None].expand(-1, -1, beams.shape[2]))
