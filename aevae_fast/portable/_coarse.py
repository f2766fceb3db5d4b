"""A first look at all codes in bfloat16 and a second in float32 at those in reach, for processors that multiply
bfloat16 faster. Exact as the search in float32 is: what is left out is proved to lie further.

Rows x and codes c are rounded to x̂ and ĉ here, so that the product is one of bfloat16 numbers and its terms are exact.
What rounding takes away is known: with x·c = x̂·ĉ + x̂·(c - ĉ) + (x - x̂)·c and Cauchy-Schwarz the score ½‖c‖² - x·c is
off by less than

    ‖x‖'·(‖c - ĉ‖ + a·‖c‖) + ‖x - x̂‖·‖c‖ + a·‖c‖²,    a = (D + 16)·2⁻²⁴,    ‖x‖' the larger of ‖x‖ and ‖x̂‖,

where a pays for sums of D + 5 terms in float32, as in `_search.py`. The product is that of

    [x̂, 1, 1, 1, ‖x‖', ‖x - x̂‖] and [-ĉ, three parts of ½‖c‖² - a·‖c‖², -(‖c - ĉ‖ + a·‖c‖), -‖c‖],

the bias in three bfloat16 parts that hold what one float32 does, the bounds rounded up: a lower bound of the score.
Norms are raised by √D·2⁻⁶², since squares of entries below 2⁻⁶³ may vanish.

It comes out rounded to bfloat16, to either neighbour. The group where it is least is looked at in float32, which
gives each row an upper bound U of its least score. A group is out of reach if its rounded bound exceeds the smallest
bfloat16 number ≥ U: that number is exact, so no rounding carries anything from below it to above. Codes of groups in
reach are compared by their bounds in float32, as `_search.search` does; where one alone remains it is certified.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ._product import bfloat16_product, multiplies_bfloat16
from ._threads import on_threads, threads_for

if TYPE_CHECKING:
    from ._search import Codes

_TILE, _GROUP = 1024, 8  # codes in one product; codes that are looked at again together
_CROWD = 8  # groups in reach of a row from which on, in any but a large codebook, it is left to the float32 product
_STEP = 64  # groups that are gathered at a time: they stay in cache
_WIDTH, _ELEMENTS = 96, 3 << 19  # of a codebook whose product costs more than the second look
_ROWS = 512  # rows that pay for rounding the codes


def pays(rows: int, columns: Tensor) -> bool:
    """Whether to look in bfloat16 first, with so many rows and `columns [K, D + 2]`. Measured on a grid of D and K:
    only the product gains, by D·K a row; the second look costs a row the same whatever K."""
    large = columns.shape[1] >= _WIDTH and columns.numel() >= _ELEMENTS and rows >= _ROWS
    return large and multiplies_bfloat16(columns.device)


def _raised(value: Tensor) -> Tensor:
    """bfloat16, not lower than `value ≥ 0`: rounding takes at most 2⁻⁸ of it."""
    return value.mul(1 + 2.0**-7).bfloat16()


def round_codes(columns: Tensor, norms: Tensor) -> Tensor:
    """columns [K, D + 2] float32 as in `Codes`, norms [K] → [K, D + 5] bfloat16."""
    size, width = columns.shape
    dim, least = width - 2, (width - 2) ** 0.5 * 2.0**-62
    a = 1.01 * (dim + 16) * 2.0**-24
    rounded = torch.empty(size, dim + 5, dtype=torch.bfloat16, device=columns.device)

    def round_part(part: slice) -> None:
        code, norm, out = columns[part], norms[part], rounded[part]
        out[:, :dim] = code[:, :dim]
        missing = torch.linalg.vector_norm(code[:, :dim] - out[:, :dim], dim=1)
        # `columns` holds a bias lowered for float32 already, by less: it is lowered by all of a once more.
        bias = code[:, dim] - a * norm.square() - dim * 2.0**-126
        for place in range(dim, dim + 3):
            out[:, place] = bias
            bias = (bias - out[:, place]).nan_to_num_(0.0)  # infinite where a code never wins
        out[:, -2] = -_raised(missing + a * norm + least)
        out[:, -1] = -_raised(norm + least)

    # A tile at a time: differences of all would be a second copy.
    on_threads(lambda: round_part, [slice(k, k + _TILE) for k in range(0, size, _TILE)], threads_for(columns))
    return rounded


class Buffers:
    """Of one thread, for blocks of at most `rows` rows."""

    def __init__(self, rounded: Tensor, rows: int) -> None:
        size, width = rounded.shape
        tiles = -(-size // _TILE)
        self.rows = rounded.new_ones(rows, width)  # x̂, 1, 1, 1, ‖x‖', ‖x - x̂‖
        self.groups = rounded.new_empty(tiles * (_TILE // _GROUP) * rows)
        self.tiles = rounded.new_empty(tiles * rows)


def _round_rows(rows: Tensor, buffers: Buffers) -> Tensor:
    """rows [n, D + 2]: x, 1, ‖x‖ → [n, D + 5] bfloat16."""
    dim = rows.shape[1] - 2
    rounded, least = buffers.rows[: len(rows)], dim**0.5 * 2.0**-62
    rounded[:, :dim] = rows[:, :dim]
    missing = torch.linalg.vector_norm(rows[:, :dim] - rounded[:, :dim], dim=1)
    rounded[:, -2] = _raised((rows[:, -1] + least) * (1 + 2.0**-8))
    rounded[:, -1] = _raised(missing + least)
    return rounded


def _least(rows: Tensor, rounded: Tensor, buffers: Buffers) -> tuple[Tensor, Tensor]:
    """The rounded lower bounds' minimum in each tile and group: [tiles, n] and [tiles, groups of a tile, n]."""
    size, n, per_tile = len(rounded), len(rows), _TILE // _GROUP
    tiles = buffers.tiles[: -(-size // _TILE) * n].view(-1, n)
    groups = buffers.groups[: len(tiles) * per_tile * n].view(-1, per_tile, n)
    groups[-1].fill_(torch.inf)  # the last tile may be smaller
    for number in range(len(tiles)):
        tile = rounded[number * _TILE : (number + 1) * _TILE]
        scores = bfloat16_product(tile, rows)
        torch.amin(scores.view(-1, _GROUP, n), 1, out=groups[number, : len(tile) // _GROUP])
        torch.amin(groups[number], 0, out=tiles[number])
    return tiles, groups


class _Look:
    """The codes of pairs of a row and a group, in float32: their numbers, lower and upper bounds, [p, 8] each."""

    def __init__(self, rows: Tensor, row: Tensor, group: Tensor, codes: "Codes") -> None:
        width = rows.shape[1]
        columns = codes.columns.view(-1, _GROUP * width)
        self.row = row
        self.code = group[:, None] * _GROUP + torch.arange(_GROUP, device=rows.device)
        self.lower = rows.new_empty(len(row), _GROUP)
        for p in range(0, len(row), _STEP):
            part = slice(p, p + _STEP)
            gathered = columns.index_select(0, group[part]).view(-1, _GROUP, width)
            torch.sum(gathered.mul_(rows.index_select(0, row[part])[:, None]), 2, out=self.lower[part])
        self.upper = codes.above(self.lower, codes.norms[self.code], rows[row, -1][:, None]).amin(1)

    def passing(self, upper: Tensor) -> Tensor:
        return ~(self.lower > upper[self.row, None])  # "not greater" keeps what overflowed to NaN


def _in_reach(tiles: Tensor, groups: Tensor, upper: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows and groups [p] whose bound does not exceed `upper [n]`, and which rows [n] have more than `most` of them:
    those are left out."""
    limit = upper.bfloat16()
    limit = torch.where(limit < upper, limit.nextafter(limit.new_tensor(torch.inf)), limit)
    tile, row = torch.nonzero(~(tiles > limit), as_tuple=True)
    reach = ~(groups[tile, :, row] > limit[row, None])
    crowded = row.new_zeros(len(upper)).index_add_(0, row, reach.sum(1)) > most
    pair, place = torch.nonzero(reach.logical_and_(~crowded[row, None]), as_tuple=True)
    return row[pair], tile[pair] * groups.shape[1] + place, crowded


def search(rows: Tensor, codes: "Codes", buffers: Buffers) -> tuple[Tensor, Tensor]:
    """As `_search.search`: rows [n, D + 2] → the best code [n] int64 and whether it is certified [n] bool."""
    assert codes.rounded is not None
    size, n = len(codes.rounded), len(rows)
    tiles, groups = _least(_round_rows(rows, buffers), codes.rounded, buffers)
    tile = tiles.float().min(0).indices[None]
    place = groups.gather(0, tile[:, None].expand(1, groups.shape[1], n))[0].float().min(0).indices[None]
    best = (tile * groups.shape[1] + place)[0].clamp_(max=size // _GROUP - 1)
    first = _Look(rows, torch.arange(n, device=rows.device), best, codes)
    groups.view(-1, n).scatter_(0, best[None], torch.inf)
    row, group, crowded = _in_reach(tiles, groups, first.upper, max(_CROWD, size // 256))
    second = _Look(rows, row, group, codes)
    upper = first.upper.scatter_reduce(0, row, second.upper, "amin")
    passing, others = first.passing(upper), second.passing(upper)
    alone = passing.sum(1).index_add_(0, row, others.sum(1)) == 1
    index = torch.where(passing, first.code, -1).amax(1)
    index.scatter_reduce_(0, row, torch.where(others, second.code, -1).amax(1), "amax")
    return index, alone & ~crowded
