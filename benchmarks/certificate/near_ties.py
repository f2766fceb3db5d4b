"""Rows where the two best codes are almost equally good: the hardest there are."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

_SCORES = 1 << 20


def at_bisectors(g: Generator, rows: Tensor, codes: Tensor, metric: str) -> tuple[Tensor, Tensor]:
    """Each row x [n, D] moves along the difference of its two nearest codes to where both are equally near, rounded to
    float32; three in four then by noise of 2⁻²⁶ to 2⁻⁸ of the way between the codes and of themselves."""
    wide = F.normalize(codes.double(), dim=1) if metric == "cosine" else codes.double()
    centre = wide.mean(0) if metric == "euclidean" else torch.zeros_like(wide[0])
    wide = wide - centre
    bias = 0.5 * wide.square().sum(1) if metric == "euclidean" else wide.new_zeros(len(wide))
    moved = [_move(part.double() - centre, wide, bias) for part in rows.split(max(1, _SCORES // len(codes)))]
    x, apart = (torch.cat(column) for column in zip(*moved, strict=True))
    noise = torch.randn(rows.shape, generator=g) * 2.0 ** -(8 + 18 * torch.rand(len(rows), 1, generator=g))
    noise[::4] = 0.0
    own = torch.rand(len(rows), 1, generator=g) < 0.25
    x = x + centre
    return (x + noise * torch.where(own, x.abs(), apart)).float(), codes


def _move(x: Tensor, codes: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """x [n, D] float64 → at the bisector [n, D], and how far apart the two codes are [n, 1]."""
    score = torch.addmm(bias, x, codes.T, alpha=-1).float()
    first = score.argmin(1)
    second = score.scatter_(1, first[:, None], torch.inf).argmin(1)
    across = codes[second] - codes[first]
    square = across.square().sum(1)
    behind = bias[second] - bias[first] - (x * across).sum(1)
    step = torch.where(square > 0, behind / square, 0.0)
    return x + step[:, None] * across, square.sqrt()[:, None]
