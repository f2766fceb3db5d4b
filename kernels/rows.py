"""Where the rows of a strided [B, S, D] view start, and what is further than anything."""

from __future__ import annotations

import triton
import triton.language as tl

FAR = tl.constexpr(float("inf"))


@triton.jit
def row_pointers(x_ptr, n, N, S, stride_b, stride_s):
    """Where rows n of a strided [B, S, D] view with N rows start; n is int64, as offsets may pass 2^31."""
    # Divided in N's own type: a 64-bit division is a call, around which registers spill.
    short = n.to((tl.full([1], 0, tl.int32) + N).dtype)
    return x_ptr + (short // S).to(tl.int64) * stride_b + (short % S).to(tl.int64) * stride_s


@triton.jit
def after(always, n):
    """n, where `always` holds, as it does: what is computed from it waits for that, and takes no registers before."""
    return tl.where(always, n, 0)
