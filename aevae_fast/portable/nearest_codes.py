"""The k nearest codes in bounded memory, nearest first, in plain PyTorch: on every device.

A few more candidates than k come from float32 scores of a block of rows; sums in float64 rank them. On a CPU those
scores are ½‖c‖² - x·c by one matrix product, off by less than e = a·‖c‖·(‖x‖ + ‖c‖) as in
`_search.py`; a row is certified where all that is left out lies beyond 2e from what is chosen. The others, and all
rows on devices that would have to be waited for, go by Σ(x - c)² itself, whose rounding is that of the result.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ._product import full_precision, product
from ._rows import not_finite, row_blocks, wide_dtype

_MORE = 4  # candidates beyond k
_SCORES = 1 << 20  # distances held at a time
_ELEMENTS = 1 << 20  # float64 elements of candidates held at a time


def nearest_codes(x: Tensor, codebook: Tensor, k: int, metric: str) -> tuple[Tensor, Tensor]:
    """x [B, S, D] float16, bfloat16 or float32, codebook [K, D] float32 → indices [B, S, k] int64 and distances
    [B, S, k] float32: Σ(x - c)², 1 - cos(x, c) or -x·c. A row that is not finite has -1 and NaN."""
    size, dim = codebook.shape
    indices = torch.empty(*x.shape[:2], k, dtype=torch.int64, device=x.device)
    distances = torch.empty(*x.shape[:2], k, device=x.device)
    rows = max(1, min(_SCORES // size, _ELEMENTS // ((k + _MORE) * dim)))
    codes = _unit(codebook) if metric == "cosine" else codebook
    with full_precision(x.device):
        for block in row_blocks(x, rows):
            part = x[block].float().reshape(-1, dim)
            broken = not_finite(part)[:, None]
            part = part.masked_fill(broken, 0.0)
            part = _unit(part) if metric == "cosine" else part
            index, distance = (_certified if x.device.type == "cpu" else _directly)(part, codes, k, metric)
            shape = indices[block].shape
            indices[block] = index.masked_fill_(broken, -1).view(shape)
            distances[block] = distance.masked_fill_(broken, torch.nan).view(shape)
    return indices, distances


def _unit(rows: Tensor) -> Tensor:
    """In two steps, since squares overflow above 2⁶⁴."""
    return F.normalize(rows / rows.abs().amax(1, keepdim=True).clamp(min=1), dim=1)


def _certified(x: Tensor, codes: Tensor, k: int, metric: str) -> tuple[Tensor, Tensor]:
    """x [n, D], codes [K, D] → indices and distances [n, k]."""
    size, dim = codes.shape
    if size <= k + _MORE:
        return _ranked(x, codes, torch.arange(size, device=x.device).expand(len(x), size), k, metric)
    shift = codes[:: max(1, size // 64)].median(0).values if metric == "euclidean" else codes.new_zeros(dim)
    rows, columns = x - shift, codes - shift
    square = columns.square().sum(1)
    bias = 0.5 * square if metric == "euclidean" else torch.zeros_like(square)
    scores, candidates = torch.sub(bias, product(rows, columns)).topk(k + _MORE, largest=False)
    index, distance = _ranked(x, codes, candidates, k, metric)
    largest = square.max().sqrt()
    e = 1.01 * (dim + 12) * 2.0**-24 * largest * (rows.norm(dim=1) + largest) + dim * 2.0**-126
    chosen = (candidates[:, :, None] == index[:, None, :]).any(2)
    worst = scores.masked_fill(~chosen, -torch.inf).amax(1)
    open_ = torch.nonzero(~(worst + 2 * e < scores[:, -1]))[:, 0]
    for few in open_.split(max(1, _SCORES // size)):
        index[few], distance[few] = _directly(x[few], codes, k, metric)
    return index, distance


def _directly(x: Tensor, codes: Tensor, k: int, metric: str) -> tuple[Tensor, Tensor]:
    """As `_certified`, without a certificate and without waiting for the device."""
    size = len(codes)
    if metric == "euclidean":
        near = torch.cdist(x, codes, compute_mode="donot_use_mm_for_euclid_dist")
    else:
        near = -(x.to(wide_dtype(x)) @ codes.to(wide_dtype(x)).T).float()
    # Floats in the order of integers, and the index below them: the lowest index is the smallest among equals.
    bits = near.nan_to_num_(torch.inf).view(torch.int32)
    order = (bits ^ (bits >> 31 & 0x7FFFFFFF)).long() << 32 | torch.arange(size, device=x.device)
    candidates = order.topk(min(k + _MORE, size), largest=False).indices
    return _ranked(x, codes, candidates, k, metric)


def _ranked(x: Tensor, codes: Tensor, candidates: Tensor, k: int, metric: str) -> tuple[Tensor, Tensor]:
    """x [n, D], candidates [n, m] → the k nearest of them, the lowest index first on a tie: by differences or products
    in float32, summed in float64."""
    candidates = candidates.sort(dim=1).values
    found, wide = codes.index_select(0, candidates.flatten()).view(*candidates.shape, x.shape[1]), wide_dtype(x)
    if metric == "euclidean":
        distance = found.sub_(x[:, None]).square_().sum(-1, dtype=wide)
    else:
        distance = (1.0 if metric == "cosine" else 0.0) - found.mul_(x[:, None]).sum(-1, dtype=wide)
    near, place = (part[:, :k] for part in distance.sort(dim=1, stable=True))
    return candidates.gather(1, place), near.float()
