"""Rows that no bound decides: their candidates are compared in float64, by Σ(x - c)² for the euclidean metric."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ._product import product
from ._rows import not_finite, wide_dtype
from ._search import Codes, Workspace, load_rows

_SCORES = 1 << 20  # float32 scores held at a time: 4 MB
_ELEMENTS = 1 << 19  # float64 elements held at a time: 4 MB
_LOW = 16  # dimensions up to which a float64 distance is had as fast as its bounds are compared
_DENSE = {"euclidean": 12}  # pairs that compared all with all take no longer than one that is gathered


def few_rows(codes: Codes, metric: str, threads: int) -> int:
    """Rows that `resolve` takes at a time: it has their scores against all codes at once, on each thread."""
    scores = _SCORES // (2 * resolving_threads(codes, metric, threads))
    return max(1, min(512, scores // len(codes.columns)))


def resolving_threads(codes: Codes, metric: str, threads: int) -> int:
    """Of `threads`, how many to call `resolve` on. Euclidean distances of few dimensions are two long operations a
    call, which use PyTorch's threads as well as threads of their own could."""
    return 1 if metric == "euclidean" and len(codes.shift) <= _LOW else threads


def resolve(x: Tensor, codebook: Tensor, codes: Codes, metric: str) -> Tensor:
    """Rows that the certificate left open: x [n, D] → exact indices [n] int64, -1 for rows that are not finite."""
    invalid = not_finite(x)
    # A zero row is as near to every code by cosine and dot: the lowest index, without comparing them all.
    plain = invalid if metric == "euclidean" else invalid | ~x.any(1)
    indices = torch.where(invalid, -1, 0)
    indices[~plain] = _compare(x[~plain], codebook, codes, metric)
    return indices


def _compare(x: Tensor, codebook: Tensor, codes: Codes, metric: str) -> Tensor:
    """Finite rows x [n, D] → the indices [n] int64 that float64 gives, the lowest one on a tie."""
    size, dim = codebook.shape
    # So few that to choose candidates would cost more than to compare all; or of so few dimensions, and in one piece.
    if len(x) * size * dim <= _ELEMENTS or (dim <= _LOW and size * dim <= _ELEMENTS):
        return _distances(x, codebook, metric).argmin(1)
    if dim <= _LOW:
        return among_shared(x, codebook, torch.arange(size, device=x.device), metric)
    rows = load_rows(x[None], codes, Workspace(codes, len(x)))
    lower = product(codes.columns[:size], rows)
    upper = codes.above(lower, codes.norms[:size, None], rows[:, -1]).amin(0)
    reach = ~(lower > upper)  # "not greater" keeps what overflowed to NaN
    shared = torch.nonzero(reach.any(1))[:, 0]
    if int(reach.sum()) * _DENSE.get(metric, 2) >= len(x) * len(shared):
        return among_shared(x, codebook, shared, metric)
    return _among_candidates(x, codebook, reach, metric)


def among_shared(x: Tensor, codebook: Tensor, shared: Tensor, metric: str) -> Tensor:
    """Every row with every code of `shared [m]`, in order → indices [n]."""
    indices = shared[:1].repeat(len(x))
    best = x.new_full((len(x),), torch.inf, dtype=wide_dtype(x))
    for codes in shared.split(max(1, _ELEMENTS // x.shape[1])):
        distance, place = _distances(x, codebook.index_select(0, codes), metric).min(1)
        nearer = distance < best  # the lower index stays on a tie
        best = torch.where(nearer, distance, best)
        indices = torch.where(nearer, codes[place], indices)
    return indices


def _among_candidates(x: Tensor, codebook: Tensor, reach: Tensor, metric: str) -> Tensor:
    """Each row with the codes that reach it, `reach [K, n]` → indices [n]."""
    size, dim = codebook.shape
    row, code = torch.nonzero(reach.T, as_tuple=True)
    step = max(1, _ELEMENTS // dim)
    distance = torch.empty(len(row), dtype=wide_dtype(x), device=x.device)
    for r, c, found in zip(row.split(step), code.split(step), distance.split(step), strict=True):
        found.copy_(_pair_distances(x[r], codebook[c], metric))
    best = distance.new_full((len(x),), torch.inf).scatter_reduce_(0, row, distance, "amin")
    tied = torch.where(distance == best[row], code, size)
    return row.new_full((len(x),), size).scatter_reduce_(0, row, tied, "amin")


def _pair_distances(x: Tensor, codebook: Tensor, metric: str) -> Tensor:
    """x [p, D] and codebook [p, D], paired → float64 [p], smaller is nearer."""
    x, codebook = x.to(wide_dtype(x)), codebook.to(wide_dtype(x))
    if metric == "euclidean":
        return (x - codebook).square_().sum(-1).nan_to_num_(torch.inf)
    codebook = F.normalize(codebook, dim=-1) if metric == "cosine" else codebook
    return -(x * codebook).sum(-1).nan_to_num_(torch.inf)


def _distances(x: Tensor, codebook: Tensor, metric: str) -> Tensor:
    """x [n, D], codebook [m, D] → float64 [n, m], smaller is nearer."""
    x, codebook = x.to(wide_dtype(x)), codebook.to(wide_dtype(x))
    if metric == "euclidean":  # by differences as well, but vectorised, and nothing of size n·m·D is written
        return torch.cdist(x, codebook, compute_mode="donot_use_mm_for_euclid_dist").nan_to_num_(torch.inf)
    codebook = F.normalize(codebook, dim=-1) if metric == "cosine" else codebook
    # Not by a matrix product: equal codes must give equal sums, wherever they stand.
    distance = x.new_empty(len(x), len(codebook))
    step = max(1, _ELEMENTS // codebook.numel())
    for rows, found in zip(x.split(step), distance.split(step), strict=True):
        torch.sum(rows[:, None] * codebook, -1, out=found)
    return distance.neg_().nan_to_num_(torch.inf)
