"""The search for the nearest code, block by block, exact: what `nearest_code` and the residual quantizer are made of.

For each row x the search minimises the score ½‖c‖² - x·c, which orders the codes as the distance does without losing
bits to ‖x‖². Blocks of rows meet tiles of codes in one matrix product that stays in cache; [N, K] never exists.

The product does not yield the score but a proved lower bound of it. In float32 the computed score is off by less than

    e_k = a·‖c_k‖·(‖x‖ + ‖c_k‖),    a = (D + 12)·2⁻²⁴  (dot product of D + 2 terms, rounded operands, rounded bias)

and -e_k rides along as two more columns of the product, [x, 1, ‖x‖] · [-c, ½‖c‖² - a‖c‖², -a‖c‖]. A code can be
nearest only if its lower bound is at most the winner's upper bound, so a row where one code alone passes is certified.
The others, few on most data, compare their candidates by Σ(x - c)² in float64: `_resolve.py`. Where the processor
multiplies bfloat16 faster a large codebook is looked at in that first: `_coarse.py`.

Rows and codes are first shifted by one common vector: the argmin stays where it is and the bound shrinks, so data that
sits at 1000 ± 0.01 is certified too. See `aevae_fast.reference.nearest_code` for the specification.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from . import _coarse
from ._product import product
from ._threads import one_thread_each

_CODES, _GROUP = 1024, 16  # codes in one product, and codes whose minimum is taken by one vectorised amin
_SCORES = 1 << 20  # scores that a thread holds at a time: 4 MB; beyond two threads they share 8 MB


class Codes(NamedTuple):
    """A codebook made ready for the search; K is padded to a multiple of the group with codes that never win."""

    columns: Tensor  # [K', D + 2] float32: -c, bias - a‖c‖², -a‖c‖
    shift: Tensor  # [D] float32
    norms: Tensor  # [K'] float32: ‖c‖
    a: float
    rounded: Tensor | None = None  # [K', D + 5] bfloat16, where a first look in bfloat16 pays: `_coarse.py`

    def above(self, lower: Tensor, norm: Tensor, length: Tensor) -> Tensor:
        """The upper bound of a score, for codes of this norm and rows of this length: 2e above the lower one. And by
        more than float64 rounds Σ(x - c)², so that the exact comparison finds what is certified: whether a row is
        searched depends on those beside it, its index does not."""
        reach = length + norm
        slack = (norm + 2.0**-26 * reach).mul_(reach).mul_(2 * self.a)
        return slack.add_(lower).add_(2 * (self.columns.shape[1] * 2.0**-126))


def prepare(codebook: Tensor, metric: str, rows: int = 0) -> Codes:
    """codebook [K, D] float32, for a search of so many rows."""
    codes = _columns(codebook, metric)
    if _coarse.pays(rows, codes.columns):
        return codes._replace(rounded=_coarse.round_codes(codes.columns, codes.norms))
    return codes


@one_thread_each()
def _columns(codebook: Tensor, metric: str) -> Codes:
    size, dim = codebook.shape
    shift, given = codebook.new_zeros(dim), codebook
    if metric == "euclidean":  # the median of a few codes is a centre that one huge outlier cannot drag away
        shift = codebook[:: max(1, size // 64)].median(0).values
    if metric == "cosine":  # in two steps, since squares overflow above 2⁶⁴
        largest = codebook.abs().amax(1, keepdim=True)  # ten times as fast as the norm that it is
        codebook = F.normalize(codebook / largest.clamp(min=1), dim=1)
    padded = -(-size // _GROUP) * _GROUP
    columns = codebook.new_zeros(padded, dim + 2)
    torch.sub(shift, codebook, out=columns[:size, :dim])
    norms = torch.linalg.vector_norm(columns[:, :dim], dim=1)
    square = norms.square()  # not from squared entries: they would be a second copy of the codebook
    a = 1.01 * (dim + 12) * 2.0**-24
    bias = 0.5 * square if metric == "euclidean" else torch.zeros_like(square)
    columns[:, dim] = bias - a * square - dim * 2.0**-126  # the last term: products that underflow
    columns[size:, dim] = torch.inf
    columns[_repeated(given, square[:size]), dim] = torch.inf
    columns[:, dim + 1] = -a * norms
    return Codes(columns, shift, norms, a)


def _repeated(codebook: Tensor, square: Tensor) -> Tensor:
    """Codes that stand at a lower index already, and so never win: [m] int64. Kept in, they would tie for every row
    near them, and a codebook that has collapsed would be compared in float64 as a whole. Equal codes have equal
    squared norms; only neighbours in the order of those are looked at, which may miss some."""
    value, order = square.sort(stable=True)
    later = torch.nonzero(value[1:] == value[:-1])[:, 0]
    equal = [(codebook[order[n]] == codebook[order[n + 1]]).all(1) for n in later.split(_CODES)]
    return order[later[torch.cat(equal)] + 1] if equal else later


def block_rows(codes: Codes, threads: int) -> int:
    """Rows that a thread searches at a time: many, since some twenty small operations end each block; fewer where many
    threads share the memory."""
    scores = min(_SCORES, 2 * _SCORES // threads)
    return max(64, min(512, 1024 // threads), min(2048, scores // len(codes.columns)))


class Workspace:
    """Buffers of one thread, reused by every block of at most `rows` rows."""

    def __init__(self, codes: Codes, rows: int) -> None:
        size, width = codes.columns.shape
        tiles = -(-size // _CODES)
        new = codes.columns.new_empty
        self.rows = new(rows, width)  # x, 1, ‖x‖
        self.rows[:, -2] = 1.0
        self.group_best = new(size // _GROUP * rows)
        self.members = new(tiles * _GROUP * rows)
        self.winners = torch.empty(tiles * rows, dtype=torch.int64, device=self.rows.device)
        most = max(tiles * _GROUP, min(_CODES, size) // _GROUP)
        self.equal = new(most * rows)
        self.coarse = None if codes.rounded is None else _coarse.Buffers(codes.rounded, rows)
        self.numbers = torch.arange(most, device=self.rows.device, dtype=torch.float32)[:, None]

    def argmin(self, values: Tensor, best: Tensor) -> Tensor:
        """Which row of `values [m, n]` equals `best [1, n]`, its minimum: [1, n] int64. The last if several do, 0 for
        NaN. torch's own argmin is not vectorised, and ten times slower; neither is a comparison that yields bools."""
        equal = torch.le(values, best, out=self.equal[: values.numel()].view(values.shape))
        return equal.mul_(self.numbers[: len(values)]).amax(0, keepdim=True).long()


def load_rows(x: Tensor, codes: Codes, workspace: Workspace) -> Tensor:
    """x [b, s, D] → [b·s, D + 2]: the shifted rows, a one, their norm."""
    dim = x.shape[2]
    rows = workspace.rows[: x.shape[0] * x.shape[1]]
    torch.sub(x, codes.shift, out=rows[:, :dim].unflatten(0, x.shape[:2]))
    torch.linalg.vector_norm(rows[:, :dim], dim=1, out=rows[:, dim + 1])
    return rows


def search(rows: Tensor, codes: Codes, workspace: Workspace) -> tuple[Tensor, Tensor]:
    """rows [n, D + 2] → the best code [n] int64 and whether it is certified [n] bool. Where several codes are equal any
    of them may come out: such a row is never certified."""
    if codes.rounded is not None and workspace.coarse is not None:
        return _coarse.search(rows, codes, workspace.coarse)
    size, n = len(codes.columns), len(rows)
    tiles = range(0, size, _CODES)
    group_best = workspace.group_best[: size // _GROUP * n].view(-1, n)
    members = workspace.members[: len(tiles) * _GROUP * n].view(-1, _GROUP, n)
    winners = workspace.winners[: len(tiles) * n].view(-1, n)
    for number, k in enumerate(tiles):
        tile = codes.columns[k : k + _CODES]
        scores = product(tile, rows).view(-1, _GROUP, n)
        groups = torch.amin(scores, 1, out=group_best[k // _GROUP : (k + len(tile)) // _GROUP])
        winner = workspace.argmin(groups, groups.amin(0, keepdim=True))
        torch.gather(scores, 0, winner[:, None].expand(1, _GROUP, n), out=members[number : number + 1])
        torch.add(winner, k // _GROUP, out=winners[number : number + 1])
    members = members.view(-1, n)
    lower = members.amin(0, keepdim=True)
    place = workspace.argmin(members, lower)
    group = winners.gather(0, place // _GROUP)
    index = (group * _GROUP + place % _GROUP)[0]
    upper = codes.above(lower[0], codes.norms[index], rows[:, -1])
    alone = group_best.scatter_(0, group, torch.inf).amin(0) > upper
    return index, alone & (members.scatter_(0, place, torch.inf).amin(0) > upper)
