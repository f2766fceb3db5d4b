"""The sweep: minima over groups, slots and members, the reach of each row, and its verdict.

A row is certified where one code alone has a lower bound within reach, that is at most an upper bound of the least
score. Otherwise it is open: light where the groups in reach are known and few, lost where a slot may have dropped one
(all tiles of such slots are looked at), full where all codes are. What a first sweep in one part leaves open, a second
one in three may decide; its verdict counts.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .codes import Codes
from .products import Product, float32_product
from .rows import Rows, load

CERTIFIED, LIGHT, LOST, FULL = range(4)
VERDICTS = ("certified", "light", "lost", "full")
_NONE = 2**31 - 1
_LISTED, _LIST_BITS = 6, 60  # groups or slots that an open row can name, and the bits for them


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
    tiles = max(1, len(groups) // scheme.slots)
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
    kind = torch.where(lost, LOST, LIGHT)
    kind[many > min(_LISTED, _LIST_BITS // (tiles * scheme.slots).bit_length())] = FULL
    kind[rows.heavy] = FULL
    kind[alone] = CERTIFIED
    # A group of padding alone holds nothing to compare.
    real = (codes.order < len(codes.exact)).unflatten(0, (-1, 2 * scheme.steps)).any(1)
    candidates = (near & ((packed == best) | lost) | (kind == FULL)).flatten(0, 1)
    candidates &= (kind != CERTIFIED) & real[:, None]
    place = group * (2 * scheme.steps) + torch.where(alone, member, 0) % (2 * scheme.steps)
    return Verdict(kind, codes.order[place], candidates, (kind != CERTIFIED) & ~rows.heavy)


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
