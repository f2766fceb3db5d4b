"""How much of its bound the product's error takes."""

import torch
from torch import Tensor

from .codes import Codes, exponent_for
from .products import Product, float32_product
from .rows import load
from .scheme import EXTRA


def error_share(x: Tensor, codes: Codes, product: Product = float32_product) -> float:
    """The largest |product + what the bounds took off - score - lift| of rows x [n, D] and all codes, as a share of
    what the search allows: what the bounds took off, and 2⁻¹⁸ of the lift. Scores in float64.

    Above 1 the proof is wrong."""
    rows, scheme = load(x, codes), codes.scheme
    extra = slice(scheme.extra, scheme.extra + EXTRA)
    ours, theirs = codes.columns[:, extra].double(), rows.columns[:, extra].double()
    taken = -(ours[:, 3:6] @ theirs[:, 3:6].T)
    lift = ours[:, 6:7] * theirs[:, 6]
    error = product(codes.columns, rows.columns).double() + taken - lift - _scores(x, codes)
    share = error.abs() / (taken + 2.0**-18 * lift)
    counts = (codes.columns[:, extra][:, 3] < 0)[:, None] & ~rows.heavy
    return float(share[counts].amax()) if counts.any() else 0.0


def _scores(x: Tensor, codes: Codes) -> Tensor:
    """[K', n] float64: of the unrounded rows and codes, in the product's scale and order; 0 for padding."""
    rows, exact = x.double(), codes.exact.double()
    exponent = torch.as_tensor(codes.exponent)
    if codes.metric == "euclidean":
        rows, exact = rows - codes.shift.double(), exact - codes.shift.double()
    code = torch.ldexp(exact, exponent)
    own = exponent if codes.metric == "euclidean" else exponent_for(x.float().abs().amax(1, keepdim=True))
    scores = -(code @ torch.ldexp(rows, own).T)
    if codes.metric == "euclidean":
        scores += 0.5 * code.square().sum(1, keepdim=True)
    padded = scores.new_zeros(len(codes.order), len(x))
    padded[: len(scores)] = scores
    return padded[codes.order]
