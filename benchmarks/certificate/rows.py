"""The rows' side of the product, and what bounds their rounding."""

from typing import NamedTuple

import torch
from torch import Tensor

from .codes import Codes, exponent_for, scaled
from .scheme import EXTRA, Scheme

_MOST = 2.0**21  # ‖X‖·‖C‖ from which on scores would come near those of padding
_LARGEST = 60000.0  # entry of a row that still fits float16
_COARSEST = 900.0  # factor, likewise, once scaled


class Rows(NamedTuple):
    columns: Tensor  # [n, width] float32, each value one of the operands' dtype
    norm: Tensor  # [n] ‖X‖
    factor: Tensor  # [n] what ‖C‖ is multiplied by in the error, in 16 bits
    lift: Tensor  # [n], likewise
    heavy: Tensor  # [n] bool: all codes are compared


def load(x: Tensor, codes: Codes) -> Rows:
    """x [n, D] float32 or narrower."""
    scheme, x = codes.scheme, x.float()
    if codes.metric == "euclidean":
        row = scaled(x - codes.shift, codes.exponent)
    else:
        row = scaled(x, exponent_for(x.abs().amax(1, keepdim=True)))
    norm = torch.linalg.vector_norm(row, dim=1)
    parts, factor = _split(row, norm, scheme)
    heavy = ~(row.abs().amax(1) < _LARGEST) | ~(factor < _COARSEST) | ~(norm * max(codes.largest, 1.0) < _MOST)
    heavy |= _far_may_win(norm, codes)
    norm, factor = torch.where(heavy, 0.0, norm), torch.where(heavy, 0.0, factor)
    lift = norm * codes.largest
    if codes.metric == "euclidean":
        lift = torch.minimum(lift, 0.5 * norm.square())
    columns = torch.zeros(len(row), scheme.width)
    for place, part in enumerate(parts):
        columns[:, place * scheme.segment :][:, : scheme.dim] = torch.where(heavy[:, None], 0.0, part)
    extra = columns[:, scheme.extra :][:, :EXTRA]
    extra[:, 0], extra[:, 1], extra[:, 2], extra[:, 5] = 2.0**7, 2.0**-5, 2.0**-14, 2.0**-5
    extra[:, 3] = scheme.up(factor * 2.0**6)
    extra[:, 4] = scheme.up(norm * 2.0**-6)
    extra[:, 6] = scheme.up(lift * 2.0**-6)
    return Rows(columns, norm, _sixteen_bits(factor), _sixteen_bits(lift), heavy)


def _sixteen_bits(bound: Tensor) -> Tensor:
    """[n] ≥ 0, rounded up, as the kernel keeps them while it sweeps."""
    return ((bound.view(torch.int32) + 0xFFFF) & -0x10000).view(torch.float32)


def _split(row: Tensor, norm: Tensor, scheme: Scheme) -> tuple[list[Tensor], Tensor]:
    """The parts of X, and the factor."""
    high = scheme.round(row)
    rest, parts = row - high, [high]
    factor = scheme.kappa * norm
    if scheme.parts == 3:
        low = scheme.round(rest)
        rest, parts = rest - low, [high, low, high]
        factor = factor + torch.linalg.vector_norm(low, dim=1) * (scheme.unit * 1.02)
    return parts, factor + torch.linalg.vector_norm(rest, dim=1)


def _far_may_win(norm: Tensor, codes: Codes) -> Tensor:
    if codes.metric == "euclidean":
        return codes.far <= 1.001 * (2 * norm + codes.largest)
    return torch.full_like(norm, codes.far, dtype=torch.float32) < torch.inf
