"""The rows of a block as the certified search reads them: their addresses, bf16 parts, norms and error bounds.

Beside the parts of a row stand the columns that meet those of the codes (prepared_codebook.py): 1 for each part of the
bias, and the factors by which the codes' bounds grow. Everything in fp32. Reference: aevae_fast/reference.
"""

from __future__ import annotations

import triton
import triton.language as tl

FAR = tl.constexpr(float("inf"))
LARGEST_LIFT = tl.constexpr(1e36)


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


@triton.jit
def split(value):
    """value = high + low + residual, the first two bf16."""
    high = value.to(tl.bfloat16)
    rest = value - high.to(tl.float32)
    low = rest.to(tl.bfloat16)
    return high, low, rest - low.to(tl.float32)


@triton.jit
def load_rows(rows, live, d, D, stride_xd, shift_ptr, SHIFT_ROWS: tl.constexpr):
    """x - shift of a block of rows and dimensions, fp32; and per row how many entries are not finite."""
    inside = live[:, None] & (d < D)[None, :]
    x = tl.load(rows[:, None] + d.to(tl.int64)[None, :] * stride_xd, mask=inside, other=0.0).to(tl.float32)
    bad = tl.sum(tl.where(tl.abs(x) < FAR, 0, 1), 1)
    if SHIFT_ROWS:
        shift = tl.load(shift_ptr + d, mask=d < D, other=0.0)
        x = tl.where(inside, x - shift[None, :], 0.0)
    return x, bad


@triton.jit
def row_bounds(
    rows, live, parts, shift_ptr, largest_ptr, D, stride_xd, kappa,
    EUCLIDEAN: tl.constexpr, SHIFT_ROWS: tl.constexpr, ONE_PART: tl.constexpr, PADDED_D: tl.constexpr,
    STORE: tl.constexpr,
):  # fmt: skip
    """Norm of the rows, NaN of those without an answer; factor that bounds the error per ‖c‖; constant that lifts
    scores above 0. STORE: the rows' bf16 parts too, to pointers `parts`."""
    square = tl.zeros([rows.shape[0]], tl.float32)
    centred_square = tl.zeros([rows.shape[0]], tl.float32)
    low_square = tl.zeros([rows.shape[0]], tl.float32)
    residual_square = tl.zeros([rows.shape[0]], tl.float32)
    bad = tl.zeros([rows.shape[0]], tl.int32)
    STEP: tl.constexpr = min(PADDED_D, 32)
    for start in range(0, PADDED_D, STEP):
        d = start + tl.arange(0, STEP)
        x, bad_here = load_rows(rows, live, d, D, stride_xd, shift_ptr, SHIFT_ROWS)
        bad += bad_here
        square += tl.sum(x * x, 1)
        if EUCLIDEAN and not SHIFT_ROWS:
            centred = x - tl.load(shift_ptr + d, mask=d < D, other=0.0)[None, :]
            centred_square += tl.sum(tl.where(live[:, None], centred * centred, 0.0), 1)
        high, low, residual = split(x)
        if STORE:
            tl.store(parts[:, None] + d[None, :], high, mask=live[:, None])
        if not ONE_PART:
            if STORE:
                tl.store(parts[:, None] + (PADDED_D + d)[None, :], low, mask=live[:, None])
            low = low.to(tl.float32)
            low_square += tl.sum(low * low, 1)
            residual_square += tl.sum(residual * residual, 1)
    spread_square = square
    if EUCLIDEAN and not SHIFT_ROWS:
        spread_square = centred_square
    norm, factor, lift = bounds_of(
        square, spread_square, low_square, residual_square, tl.load(largest_ptr), kappa, EUCLIDEAN, ONE_PART
    )
    return tl.where((bad == 0) & live, norm, float("nan")), factor, lift


@triton.jit
def bounds_of(
    square, spread_square, low_square, residual_square, largest, kappa,
    EUCLIDEAN: tl.constexpr, ONE_PART: tl.constexpr,
):  # fmt: skip
    """Norm, factor and lift of rows from Σ over their entries: of the rows, of the centred ones, of what is split."""
    norm = tl.sqrt(square)
    factor = kappa * norm
    if not ONE_PART:
        factor += tl.sqrt(residual_square) + tl.sqrt(low_square) * (2.04 / 256)
    lift = tl.sqrt(spread_square) * largest
    if EUCLIDEAN:
        lift = tl.minimum(lift, 0.5 * spread_square)
    # Any lift is right, as bounds below 0 are all in reach; a finite one keeps codes that overflow from making NaNs.
    return norm, factor, tl.minimum(lift, LARGEST_LIFT)


@triton.jit
def store_bounds(bounds_ptr, n, live, norm, factor, lift):
    # bounds :: [N, 4] fp32
    tl.store(bounds_ptr + n * 4, norm, mask=live)
    tl.store(bounds_ptr + n * 4 + 1, factor, mask=live)
    tl.store(bounds_ptr + n * 4 + 2, lift, mask=live)


@triton.jit
def load_bounds(bounds_ptr, n, live):
    """What `store_bounds` stored."""
    norm = tl.load(bounds_ptr + n * 4, mask=live, other=float("nan"))
    factor = tl.load(bounds_ptr + n * 4 + 1, mask=live, other=0.0)
    return norm, factor, tl.load(bounds_ptr + n * 4 + 2, mask=live, other=0.0)


@triton.jit
def extra_columns(norm, factor, lift, EXTRA: tl.constexpr):
    """The rows' side of the bias and bound columns: 1, 1, 1, factor, norm, 1, lift."""
    up = 1.0 + 1.0 / 64
    column = tl.arange(0, EXTRA)[None, :]
    value = tl.where((column < 3) | (column == 5), 1.0, 0.0)
    value = tl.where(column == 3, up * factor[:, None], value)
    value = tl.where(column == 4, up * norm[:, None], value)
    value = tl.where(column == 6, up * lift[:, None], value)
    return value.to(tl.bfloat16)
