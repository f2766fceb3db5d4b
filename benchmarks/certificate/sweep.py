"""The sweep: minima over groups, slots and members, the reach of each row, and its verdict.

A row is certified where one code alone has a lower bound within reach, that is at most an upper bound of the least
score. Otherwise it is open: light where the groups in reach are known and few; wide where they are more than a list
holds, or a slot may have dropped one; full where all codes are compared, as its scores prove nothing.

Of a wide row the slots within reach are known, and the reach. Where the scheme narrows, a sweep of these rows alone
finds the groups within reach, of all tiles; elsewhere those slots are compared in every tile.

What a first sweep in one part leaves open, a second one in three may decide (D = 33 to 64); its verdict counts.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .codes import Codes
from .products import Product, float32_product
from .rows import Rows, load

CERTIFIED, LIGHT, WIDE, FULL = range(4)
VERDICTS = ("certified", "light", "wide", "full")
_NONE = 2**31 - 1
_LISTED, _LIST_BITS = 6, 60  # groups that a light row can name, and the bits for them
_CROWDED = 12  # the K-th part of the codes that are compared of all rows, one by one, before all are


class Verdict(NamedTuple):
    kind: Tensor  # [n] one of the four
    code: Tensor  # [n] the code, where certified
    candidates: Tensor  # [groups, n] bool: those that an open row looks at again; none where certified
    again: Tensor  # [n] bool: the rows that a second sweep would take


def sweep(x: Tensor, codes: Codes, product: Product = float32_product) -> Verdict:
    """x [n, D]."""
    rows, scheme = load(x, codes), codes.scheme
    scores = product(codes.columns, rows.columns).unflatten(0, (-1, 4, 2 * scheme.steps))
    groups = scores.amin(2).flatten(0, 1)
    members = scores.amin(0).flatten(0, 1)
    tiles = codes.tiles
    slots = len(groups) // tiles
    bits = (tiles - 1).bit_length()
    # What a slot keeps: the value, its low bits replaced by the tile's number. Compared as integers.
    number = torch.arange(tiles, dtype=torch.int32)[:, None, None]
    packed = (groups.view(torch.int32).view(tiles, slots, -1) & -(1 << bits)) | number
    best = packed.amin(0)
    second = torch.where(packed == best, _NONE, packed).amin((0, 1))
    lowest, winner = best.view(torch.float32).min(0)
    group = winner + slots * (lowest.view(torch.int32) & ((1 << bits) - 1))
    reach = _reach(lowest, group, rows, codes, bits)
    reach = torch.where(rows.heavy, torch.inf, reach).view(torch.int32)

    near, lost = best <= reach, second <= reach
    many = near.sum(0)
    hits, member = _count(torch.le(members.view(torch.int32), reach, out=torch.empty_like(members)))
    alone = (many == 1) & (hits == 1) & ~lost & ~rows.heavy
    listed = min(_LISTED, _LIST_BITS // (tiles * scheme.slots).bit_length())
    kind = torch.where(lost | (many > listed), WIDE, LIGHT)
    kind[rows.heavy] = FULL
    kind[alone] = CERTIFIED
    named = (near & (packed == best)).flatten(0, 1)
    wide = float((kind == WIDE).float().mean())
    spread = narrowed(groups, reach, codes, wide) if codes.narrows else near.repeat(tiles, 1)
    candidates = named & (kind == LIGHT) | spread & (kind == WIDE) | (kind == FULL)
    # A group of padding alone holds nothing to compare.
    candidates &= (codes.order < len(codes.exact)).unflatten(0, (-1, 2 * scheme.steps)).any(1)[:, None]
    place = group * (2 * scheme.steps) + torch.where(alone, member, 0) % (2 * scheme.steps)
    return Verdict(kind, codes.order[place], candidates, (kind != CERTIFIED) & ~rows.heavy)


def narrowed(groups: Tensor, reach: Tensor, codes: Codes, wide: float) -> Tensor:
    """[groups, n] bool: those whose least score, groups [groups, n], is within reach [n], the bits of it; all of a row
    whose candidates are many, the fewer the more rows are wide."""
    within = groups.view(torch.int32) <= reach
    return within | (within.sum(0) * (2 * codes.scheme.steps * _CROWDED * wide) >= len(codes.exact))


def _count(hits: Tensor) -> tuple[Tensor, Tensor]:
    """hits [m, n], 1 or 0 → how many there are in each column, and the sum of their places: where one is."""
    found = torch.stack([torch.ones(len(hits)), torch.arange(len(hits)).float()]) @ hits
    return found[0].long(), found[1].long()


def group_error(group: Tensor, rows: Rows, codes: Codes) -> Tensor:
    """[n]: by how much the true score of a code of each row's group may exceed its lower bound, halved."""
    up, least, small = 1 + 2.0**-6, 2.0**-14, 2.0**-26
    norm, rest, bias = (bound[group] * up for bound in (codes.norm, codes.rest, codes.bias_bound))
    error = (rows.factor * up + small) * (norm + least) + (rows.norm * up + least) * (rest + small) + bias + 2.0**-25
    return 1.002 * codes.scheme.bound_factor * error


def _reach(lowest: Tensor, group: Tensor, rows: Rows, codes: Codes, bits: int) -> Tensor:
    lift = 2.0**-17 * (1 + 2.0**-6) * rows.lift * codes.scheme.bound_factor
    reach = (lowest + 2.02 * group_error(group, rows, codes) + lift) * (1 + 2.0 ** (bits - 21))
    return reach.clamp_min(0.0)
