"""A codebook's side of the product: centred, scaled by a power of two, rounded, its error bounds in further columns.

A column of codes times a column of rows, summed, is a proved lower bound of the score (½‖C‖² - X·C for the euclidean
metric, -X·C otherwise) plus a lift that depends on the row alone and keeps it positive.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .scheme import EXTRA, Scheme

_SAMPLE = 9  # codes that centre and scale are taken from
_FAR = 2.0**10  # ‖C‖ from which on a code is left out of the product
_NEVER = 60000.0  # first part of the bias of those and of padding: 2⁷ of it exceed every score


class Codes(NamedTuple):
    """Ordered by group: position p stands for code `order[p]`, groups of 2·steps positions, `slots` groups a tile."""

    scheme: Scheme
    metric: str
    exact: Tensor  # [K, D] float32: what distances are taken to; normalized for cosine
    shift: Tensor  # [D] float32
    exponent: int  # codes and rows are multiplied by 2 to this power
    columns: Tensor  # [K', width] float32, each value one of the operands' dtype
    order: Tensor  # [K'] int64; ≥ K for padding
    norm: Tensor  # [groups] the largest ‖C‖ of a group
    rest: Tensor  # [groups] and ‖C - its parts‖
    bias_bound: Tensor  # [groups]
    largest: float  # ‖C‖ of the codes that take part
    far: float  # the least ‖C‖ of the others; infinite if there are none
    again: Codes | None  # for the rows that a first sweep leaves open

    @property
    def tiles(self) -> int:
        return max(1, len(self.order) // self.scheme.block_k)

    @property
    def narrows(self) -> bool:
        return self.scheme.narrows(len(self.exact))


def remedian(sample: Tensor) -> Tensor:
    """Median of medians of three: [9, D] → [D]."""
    for _ in range(2):
        sample = sample.unflatten(0, (-1, 3)).median(1).values
    return sample[0]


def exponent_for(value: Tensor) -> Tensor:
    """The power of two that brings value > 0 into [2⁻⁴, 2⁻³), of those that float32 has as normal numbers, so that one
    multiplication scales; subnormal values count as 2⁻¹²⁷. 0 for 0."""
    exponent = torch.frexp(value.double()).exponent.clamp(-126, 123)
    return torch.where((value > 0) & (value < torch.inf), -3 - exponent, 0)


def scaled(value: Tensor, exponent: int | Tensor) -> Tensor:
    """value·2^exponent in float32, in one rounding where it under- or overflows."""
    return torch.ldexp(value.double(), torch.as_tensor(exponent)).float()


def _centre(codebook: Tensor, metric: str) -> tuple[Tensor, int]:
    size, dim = codebook.shape
    sample = codebook[torch.arange(_SAMPLE) * size // _SAMPLE]
    shift = remedian(sample) if metric == "euclidean" else codebook.new_zeros(dim)
    distance = (sample - shift).abs()
    spread = remedian(distance).amax()
    return shift, int(exponent_for(torch.where(spread > 0, spread, distance.amax())))


def prepare(codebook: Tensor, metric: str, scheme: Scheme) -> Codes:
    """codebook [K, D] float32."""
    if metric == "cosine":
        exact, shift, exponent = _normalized(codebook), torch.zeros(codebook.shape[1]), 0
    else:
        exact = codebook
        shift, exponent = _centre(codebook, metric)
    code = scaled(exact - shift, exponent)
    norm = torch.linalg.vector_norm(code, dim=1)
    near = norm < _FAR
    code = torch.where(near[:, None], code, 0.0)
    high = scheme.round(code)
    rest = code - high
    if scheme.parts == 3:
        low = scheme.round(rest)
        rest = torch.linalg.vector_norm(rest - low, dim=1) + 2.0**-33
        parts = [-low, -high, -high]
    else:
        rest, parts = torch.linalg.vector_norm(rest, dim=1), [-high]
    bias = 0.5 * code.square().sum(1) if metric == "euclidean" else torch.zeros_like(norm)
    bias_bound = scheme.kappa * bias + 2.0**-30
    bounds = torch.where(near, torch.stack([norm, rest, bias_bound]), 0.0)

    order = _order(len(codebook), scheme)
    columns = torch.zeros(len(order), scheme.width)
    for place, part in enumerate(parts):
        columns[: len(code), place * scheme.segment :][:, : scheme.dim] = part
    columns[:, scheme.extra :][:, :EXTRA] = _extra(bias, bounds, near, len(columns), scheme)
    columns = columns[order]
    padded = torch.zeros(3, len(order))
    padded[:, : len(code)] = bounds
    norms, rests, bias_bounds = padded[:, order].unflatten(1, (-1, 2 * scheme.steps)).amax(2)
    largest = float(bounds[0].amax())
    far = float(torch.where(near, torch.inf, norm).amin())
    again = prepare(codebook, metric, scheme.again) if scheme.again else None
    return Codes(scheme, metric, exact, shift, exponent, columns, order, norms, rests, bias_bounds, largest, far, again)


def _normalized(codebook: Tensor) -> Tensor:
    """codebook / max(‖code‖, 10⁻¹²); scaled before squares are taken, as those of small entries would be lost."""
    exponent = exponent_for(codebook.abs().amax(1, keepdim=True))
    code = scaled(codebook, exponent)
    norm = torch.linalg.vector_norm(code, dim=1, keepdim=True)
    return torch.where(scaled(norm, -exponent) > 1e-12, code / norm, codebook * 1e12)


def _order(size: int, scheme: Scheme) -> Tensor:
    """Codes by group. Column k of a tile is k = block·8·steps + 8j + 2q + e; its group is (block, q), of all j and e.

    A codebook smaller than a tile is padded to a block only: groups of padding alone never come into reach, except of
    rows that look at all codes anyway."""
    block = 8 * scheme.steps
    unit = scheme.block_k if size > scheme.block_k else block
    padded = -(-size // unit) * unit
    return torch.arange(padded).view(-1, scheme.steps, 4, 2).transpose(1, 2).flatten()


def _extra(bias: Tensor, bounds: Tensor, near: Tensor, padded: int, scheme: Scheme) -> Tensor:
    """[K', EXTRA]: bias in three parts, minus the bounds, the lift's factor, zero."""
    first = scheme.round(bias * 2.0**-7)
    left = bias - first * 2.0**7
    second = scheme.round(left * 2.0**5)
    third = scheme.round((left - second * 2.0**-5) * 2.0**14)
    norm, rest, bias_bound = scheme.bound_factor * bounds
    taken = [-scheme.up(norm * 2.0**-6), -scheme.up(rest * 2.0**6), -scheme.up(bias_bound * 2.0**5)]
    extra = torch.zeros(padded, EXTRA)
    extra[:, 0] = scheme.round(torch.tensor(_NEVER))
    extra[: len(near)][near, :6] = torch.stack([first, second, third, *taken], 1)[near]
    extra[:, 6] = 2.0**6
    return extra
