"""Nearest code in bounded memory, exact, in plain PyTorch: the CPU path.

For each row x the search minimises the score ½‖c‖² - x·c, which orders the codes as the distance does without losing
bits to ‖x‖². Blocks of rows meet tiles of codes in one matrix product that stays in cache; [N, K] never exists.

The product does not yield the score but a proved lower bound of it. In float32 the computed score is off by less than

    e_k = a·‖c_k‖·(‖x‖ + ‖c_k‖),    a = (D + 12)·2⁻²⁴  (dot product of D + 2 terms, rounded operands, rounded bias)

and -e_k rides along as two more columns of the product, [x, 1, ‖x‖] · [-c, ½‖c‖² - a‖c‖², -a‖c‖]. A code can be
nearest only if its lower bound is at most the winner's upper bound, so a row where one code alone passes is certified.
The others, few on most data, compare their candidates by Σ(x - c)² in float64.

Rows and codes are first shifted by one common vector: the argmin stays where it is and the bound shrinks, so data that
sits at 1000 ± 0.01 is certified too. See `aevae_fast.reference.nearest_code` for the specification.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ._rows import not_finite, row_blocks, wide_dtype
from ._threads import on_threads

_ROWS, _CODES, _GROUP = 512, 1024, 16  # 512·1024 scores are 2 MB: they stay in L2; amin over 16 codes is vectorised
_EXACT_ELEMENTS = 1 << 19  # float64 elements that the exact comparison holds at a time: 4 MB


class _Codes(NamedTuple):
    """A codebook made ready for the search; K is padded to a multiple of the group with codes that never win."""

    columns: Tensor  # [K', D + 2] float32: -c, bias - a‖c‖², -a‖c‖
    shift: Tensor  # [D] float32
    norms: Tensor  # [K'] float32: ‖c‖
    a: float


def _prepare(codebook: Tensor, metric: str) -> _Codes:
    size, dim = codebook.shape
    if metric == "euclidean":
        # The median of a few codes is a centre that one huge outlier cannot drag away.
        shift = codebook[:: max(1, size // 64)].median(0).values
    else:
        shift = codebook.new_zeros(dim)
        codebook = F.normalize(codebook, dim=-1) if metric == "cosine" else codebook
    padded = -(-size // _GROUP) * _GROUP
    columns = codebook.new_zeros(padded, dim + 2)
    torch.sub(shift, codebook, out=columns[:size, :dim])
    square = columns[:, :dim].square().sum(1)
    norms = square.sqrt()
    a = 1.01 * (dim + 12) * 2.0**-24
    bias = 0.5 * square if metric == "euclidean" else torch.zeros_like(square)
    columns[:, dim] = bias - a * square - dim * 2.0**-126  # the last term: products that underflow
    columns[size:, dim] = torch.inf
    columns[:, dim + 1] = -a * norms
    return _Codes(columns, shift, norms, a)


class _Workspace:
    """Buffers of one thread, reused by every block."""

    def __init__(self, codes: _Codes, rows: int) -> None:
        size, width = codes.columns.shape
        groups, tiles = size // _GROUP, -(-size // _CODES)
        new = codes.columns.new_empty
        self.rows = new(width, rows)  # x transposed, 1, ‖x‖
        self.rows[-2] = 1.0
        self.scores = new(min(_CODES, size) * _ROWS)
        self.group_best = new(groups * rows)
        self.members = new(tiles * _GROUP * rows)
        self.winners = torch.empty(tiles * rows, dtype=torch.int64, device=self.rows.device)
        # Codes of a group lie `strides` apart in their tile; the last tile may be smaller.
        self.strides = torch.full((tiles,), _CODES // _GROUP, device=self.rows.device)
        self.strides[-1] = (size - (tiles - 1) * _CODES) // _GROUP
        most = max(tiles * _GROUP, _CODES // _GROUP)
        self.numbers = torch.arange(most, dtype=torch.int32, device=self.rows.device)[:, None]


def _block_rows(size: int) -> int:
    """Rows that one pass takes through the whole codebook; many, since about thirty small operations end each pass, but
    their group minima stay within 4 MB."""
    return max(_ROWS, min(2048, (1 << 20) * _GROUP // size))


def _argmin(values: Tensor, best: Tensor, numbers: Tensor) -> Tensor:
    """First row of `values [m, n]` that equals `best [n]`. torch's own argmin is not vectorised."""
    return torch.where(values <= best, numbers[: len(values)], len(values) - 1).amin(0)


def _load_rows(x: Tensor, codes: _Codes, workspace: _Workspace) -> Tensor:
    """x [b, s, D] → columns [D + 2, b·s]: the shifted rows, a one, their norm."""
    dim, n = x.shape[2], x.shape[0] * x.shape[1]
    columns = workspace.rows[:, :n]
    torch.sub(x.permute(2, 0, 1), codes.shift[:, None, None], out=columns[:dim].unflatten(1, x.shape[:2]))
    torch.sqrt(columns[:dim].square().sum(0), out=columns[dim + 1])
    return columns


def _search(columns: Tensor, codes: _Codes, workspace: _Workspace) -> tuple[Tensor, Tensor]:
    """columns [D + 2, n] → the best code [n] int64 and whether it is certified [n] bool."""
    size, n = len(codes.columns), columns.shape[1]
    tiles = range(0, size, _CODES)
    group_best = workspace.group_best[: size // _GROUP * n].view(-1, n)
    members = workspace.members[: len(tiles) * _GROUP * n].view(-1, _GROUP, n)
    winners = workspace.winners[: len(tiles) * n].view(-1, n)
    for r in range(0, n, _ROWS):
        rows = slice(r, min(r + _ROWS, n))
        for number, k in enumerate(tiles):
            tile = codes.columns[k : k + _CODES]
            groups = group_best[k // _GROUP : (k + len(tile)) // _GROUP, rows]
            winners[number, rows], members[number, :, rows] = _search_tile(tile, columns[:, rows], groups, workspace)
    member = members.flatten(0, 1)
    lower = member.amin(0)
    place = _argmin(member, lower, workspace.numbers).long()
    home = place // _GROUP
    group = winners.gather(0, home[None])
    index = home * _CODES + (place % _GROUP) * workspace.strides[home] + group[0]
    norm = codes.norms[index]
    upper = lower + 2 * codes.a * norm * (columns[-1] + norm) + 2 * (len(columns) * 2.0**-126)
    other_groups = group_best.scatter_(0, home[None] * (_CODES // _GROUP) + group, torch.inf).amin(0)
    other_members = member.scatter_(0, place[None], torch.inf).amin(0)
    return index, (other_groups > upper) & (other_members > upper)


def _search_tile(tile: Tensor, columns: Tensor, groups: Tensor, workspace: _Workspace) -> tuple[Tensor, Tensor]:
    """tile [k, D + 2], columns [D + 2, n] → the best group of each row [n] and the scores of its members [16, n]; the
    best score of every group goes to groups [k / 16, n]. Group g holds the codes g, g + k/16, g + 2k/16, …: minima over
    whole rows of scores, which vectorise."""
    n = columns.shape[1]
    scores = workspace.scores[: len(tile) * n].view(len(tile), n)
    torch.mm(tile, columns, out=scores)
    scores = scores.view(_GROUP, len(groups), n)
    torch.amin(scores, 0, out=groups)
    winner = _argmin(groups, groups.amin(0), workspace.numbers).long()
    return winner, scores.gather(1, winner.expand(_GROUP, 1, n))[:, 0]


def _exact_distance(x: Tensor, codebook: Tensor, metric: str) -> Tensor:
    """x [p, D] and codebook [p, D], paired → distance [p] float64."""
    x, codebook = x.to(wide_dtype(x)), codebook.to(wide_dtype(x))
    if metric == "euclidean":
        return (x - codebook).square_().sum(-1)
    codebook = F.normalize(codebook, dim=-1) if metric == "cosine" else codebook
    return -(x * codebook).sum(-1)


def _resolve(x: Tensor, codebook: Tensor, codes: _Codes, metric: str) -> Tensor:
    """Rows that the certificate left open: x [n, D] → exact indices [n] int64, -1 for rows that are not finite."""
    size, dim = codebook.shape
    columns = _load_rows(x[None], codes, _Workspace(codes, len(x)))
    lower = codes.columns[:size] @ columns
    norms = codes.norms[:size, None]
    upper = (lower + 2 * codes.a * norms * (columns[-1] + norms)).amin(0) + 2 * (dim + 2) * 2.0**-126
    row, code = torch.nonzero(~(lower > upper).T, as_tuple=True)  # "not greater" keeps what overflowed to NaN
    step = max(1, _EXACT_ELEMENTS // dim)
    distance = torch.empty(len(row), dtype=wide_dtype(x), device=x.device)
    for r, c, found in zip(row.split(step), code.split(step), distance.split(step), strict=True):
        found.copy_(_exact_distance(x[r], codebook[c], metric).nan_to_num_(torch.inf))
    best = distance.new_full((len(x),), torch.inf).scatter_reduce_(0, row, distance, "amin")
    tied = torch.where(distance == best[row], code, size)
    return row.new_full((len(x),), size).scatter_reduce_(0, row, tied, "amin").masked_fill_(not_finite(x), -1)


def nearest_code(x: Tensor, codebook: Tensor, metric: str) -> Tensor:
    """x [B, S, D] float16, bfloat16 or float32, codebook [K, D] float32 → indices [B, S] int64; -1 for a row that is
    not finite. Any strides. Extra memory: the prepared codebook and a few MB, whatever N."""
    codes = _prepare(codebook, metric)
    indices = torch.empty(x.shape[:2], dtype=torch.int64, device=x.device)
    certified = torch.empty(x.shape[:2], dtype=torch.bool, device=x.device)

    def make_worker() -> Callable[[tuple[slice, slice]], None]:
        workspace = _Workspace(codes, _block_rows(len(codes.columns)))

        def search(block: tuple[slice, slice]) -> None:
            part = x[block]
            index, alone = _search(_load_rows(part, codes, workspace), codes, workspace)
            indices[block], certified[block] = index.view(part.shape[:2]), alone.view(part.shape[:2])

        return search

    # Against one tile of codes the operations are too short for threads that share Python's lock.
    threads = torch.get_num_threads() if len(codes.columns) > _CODES else 1
    on_threads(make_worker, list(row_blocks(x, _block_rows(len(codes.columns)))), threads)
    # As many rows at a time as have scores against all codes in the same 2 MB.
    few = min(_ROWS, max(1, _ROWS * _CODES // len(codes.columns)))
    for place in torch.nonzero(~certified).split(few):
        indices[place[:, 0], place[:, 1]] = _resolve(x[place[:, 0], place[:, 1]].float(), codebook, codes, metric)
    return indices
