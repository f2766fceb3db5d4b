"""The answer: certified, or the least Σ(x - c)² in float32 among the candidates, the lowest index first."""

from typing import NamedTuple

import torch
from torch import Tensor

from .codes import Codes
from .products import Product, float32_product
from .sweep import CERTIFIED, sweep

_SCORES = 1 << 19  # that a block of rows has
_FEW = 256  # codes that are all compared at once
_ELEMENTS = 1 << 19  # of the differences held at a time


class Answer(NamedTuple):
    code: Tensor  # [N] int64
    kind: Tensor  # [N] a verdict of sweep.py
    groups: Tensor  # [N] candidate groups, 0 where certified
    compared: Tensor  # [N] codes whose distance was taken
    first: Tensor  # [N] the verdict of the first sweep
    again: Tensor  # [N] bool: swept a second time


def search(x: Tensor, codes: Codes, product: Product = float32_product) -> Answer:
    """x [N, D] → what the kernels would answer."""
    parts = [_block(part, codes, product) for part in x.split(max(1, _SCORES // len(codes.order)))]
    return Answer(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _block(x: Tensor, codes: Codes, product: Product) -> Answer:
    kind, code, candidates, again = sweep(x, codes, product)
    again &= codes.again is not None
    at = torch.nonzero((kind != CERTIFIED) & ~again)[:, 0]
    compare = _compare_all if len(codes.order) <= _FEW else _compare_pairs
    code[at] = compare(x[at].float(), candidates[:, at], codes)
    found = Answer(code, kind, *candidate_counts(candidates, codes), kind.clone(), again)
    if codes.again and again.any():
        second = _block(x[again], codes.again, product)
        for column, those in zip(found[:4], second[:4], strict=True):
            column[again] = those
    return found


def candidate_counts(candidates: Tensor, codes: Codes) -> tuple[Tensor, Tensor]:
    """candidates [groups, n] → how many groups each row looks at again, and how many codes, [n] each."""
    real = (codes.order < len(codes.exact)).unflatten(0, (-1, 2 * codes.scheme.steps)).sum(1)
    return candidates.sum(0), (candidates * real[:, None]).sum(0)


def _compare_all(x: Tensor, candidates: Tensor, codes: Codes) -> Tensor:
    """x [n, D], candidates [groups, n] → [n] int64. Takes the distance to every code: with few, the cheaper way."""
    size = len(codes.exact)
    distance = x.new_zeros(len(codes.order), len(x))
    for at, to in zip(x.T, codes.exact[codes.order.clamp_max(size - 1)].T, strict=True):
        term = at - to[:, None] if codes.metric == "euclidean" else at * to[:, None]
        distance += term.square_() if codes.metric == "euclidean" else term.neg_()
    distance.unflatten(0, (len(candidates), -1)).masked_fill_(~candidates[:, None], torch.inf)
    distance[codes.order >= size] = torch.inf
    least = distance.amin(0)
    place = torch.where(distance == least, codes.order[:, None].float(), float(size))
    return place.amin(0).long()


def _compare_pairs(x: Tensor, candidates: Tensor, codes: Codes) -> Tensor:
    """The same, of candidates alone."""
    size = len(codes.exact)
    row, group = torch.nonzero(candidates.T, as_tuple=True)
    distance, found = torch.full((len(x),), torch.inf), torch.full((len(x),), size)
    step = max(1, _ELEMENTS // (2 * codes.scheme.steps * codes.scheme.dim))
    for r, g in zip(row.split(step), group.split(step), strict=True):
        code = codes.order.view(-1, 2 * codes.scheme.steps)[g]
        at, to = x[r][:, None], codes.exact[code.clamp_max(size - 1)]
        each = (at - to).square().sum(2) if codes.metric == "euclidean" else -(at * to).sum(2)
        each = torch.where(code < size, each, torch.inf)
        least = each.amin(1)
        first = torch.where((each == least[:, None]) & (code < size), code, size).amin(1)
        before = distance.clone()
        distance.scatter_reduce_(0, r, least, "amin")
        found[distance < before] = size
        found.scatter_reduce_(0, r, torch.where(least == distance[r], first, size), "amin")
    return found
