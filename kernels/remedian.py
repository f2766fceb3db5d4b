"""The median of three medians of three codes: where a codebook lies, and how far it spreads.

No outlier among the nine can drag it away, and it takes no sort: every program that needs it finds it for itself.
Source: Rousseeuw and Bassett, "The remedian: a robust averaging method for large data sets" (1990).
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def middle(a, b, c):
    """Median of three."""
    return tl.maximum(tl.minimum(a, b), tl.minimum(tl.maximum(a, b), c))


@triton.jit
def _sampled(codebook_ptr, i: tl.constexpr, K, D, d, centre, SPREAD: tl.constexpr):
    code = tl.load(codebook_ptr + (i * K // 9).to(tl.int64) * D + d, mask=d < D, other=0.0)
    return tl.abs(code - centre) if SPREAD else code


@triton.jit
def _of_three(codebook_ptr, i: tl.constexpr, K, D, d, centre, SPREAD: tl.constexpr):
    a = _sampled(codebook_ptr, i, K, D, d, centre, SPREAD)
    b = _sampled(codebook_ptr, i + 1, K, D, d, centre, SPREAD)
    c = _sampled(codebook_ptr, i + 2, K, D, d, centre, SPREAD)
    return middle(a, b, c), tl.maximum(a, tl.maximum(b, c))


@triton.jit
def remedian(codebook_ptr, K, D, d, centre, SPREAD: tl.constexpr):
    """Of nine codes, or of their distances to `centre`, per dimension; and the largest."""
    K = tl.cast(K, tl.int64)
    a, most = _of_three(codebook_ptr, 0, K, D, d, centre, SPREAD)
    b, more = _of_three(codebook_ptr, 3, K, D, d, centre, SPREAD)
    c, last = _of_three(codebook_ptr, 6, K, D, d, centre, SPREAD)
    return middle(a, b, c), tl.maximum(most, tl.maximum(more, last))
