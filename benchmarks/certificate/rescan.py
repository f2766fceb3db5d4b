"""The answer: certified, or the least Σ(x - c)² in float32 among the candidates, the lowest index first."""

from typing import NamedTuple

import torch
from torch import Tensor

from .codes import Codes
from .products import Product, float32_product
from .sweep import CERTIFIED, sweep

_SCORES = 1 << 19  # that a block of rows has
_ELEMENTS = 1 << 19  # of the differences held at a time


class Answer(NamedTuple):
    code: Tensor  # [N] int64
    kind: Tensor  # [N] a verdict of sweep.py
    groups: Tensor  # [N] candidate groups, 0 where certified
    compared: Tensor  # [N] codes whose distance was taken


def search(x: Tensor, codes: Codes, product: Product = float32_product) -> Answer:
    """x [N, D] → what the two kernels would answer."""
    parts = [_block(part, codes, product) for part in x.split(max(1, _SCORES // len(codes.order)))]
    return Answer(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _block(x: Tensor, codes: Codes, product: Product) -> Answer:
    kind, code, candidates = sweep(x, codes, product)
    row, group = torch.nonzero(candidates.T, as_tuple=True)
    distance = torch.full(kind.shape, torch.inf)
    found = torch.where(kind == CERTIFIED, code, len(codes.exact))
    step = max(1, _ELEMENTS // (2 * codes.scheme.steps * codes.scheme.dim))
    for r, g in zip(row.split(step), group.split(step), strict=True):
        _compare(x, r, g, codes, distance, found)
    return Answer(found, kind, *candidate_counts(candidates, codes))


def candidate_counts(candidates: Tensor, codes: Codes) -> tuple[Tensor, Tensor]:
    """candidates [groups, n] → how many groups each row looks at again, and how many codes, [n] each."""
    real = (codes.order < len(codes.exact)).unflatten(0, (-1, 2 * codes.scheme.steps)).sum(1)
    return candidates.sum(0), (candidates * real[:, None]).sum(0)


def _compare(x: Tensor, row: Tensor, group: Tensor, codes: Codes, distance: Tensor, found: Tensor) -> None:
    """Pairs of a row and a group: lowers `distance` and `found`, both [n]."""
    size = len(codes.exact)
    code = codes.order.view(-1, 2 * codes.scheme.steps)[group]
    at, to = x[row].float()[:, None], codes.exact[code.clamp_max(size - 1)]
    each = (at - to).square().sum(2) if codes.metric == "euclidean" else -(at * to).sum(2)
    each = torch.where(code < size, each, torch.inf)
    least = each.amin(1)
    first = torch.where((each == least[:, None]) & (code < size), code, size).amin(1)
    before = distance.clone()
    distance.scatter_reduce_(0, row, least, "amin")
    found[distance < before] = size
    found.scatter_reduce_(0, row, torch.where(least == distance[row], first, size), "amin")
