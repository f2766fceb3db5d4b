"""The codebook made ready for the certified search: centred, scaled, rounded to fp16, with bias and error bounds.

    c' = β(c - s)                     s, β: centre and power of two below (euclidean; s = 0 for cosine and dot)
    score(x, k) = ½‖c'_k‖² - x'·c'_k  has the argmin of the distance; no bias for cosine and dot
    c' = high + residual              high fp16: 11 bits, at the rate that tensor cores have for bf16's 8

Up to 32 dimensions the codes take two parts, high + low, and a row meets them as [high | low | high]·[low | high |
high] in one product of 32 to 128: 22 bits for the price of one narrow tile. The scale puts the codes' typical largest
entry at 2^-4 to 2^-3, so that neither codes a thousand times larger nor rows 10^5 times larger leave fp16, and what is
small keeps its bits down to 2^-14; below, fp16 has subnormals, which tensor cores keep.

Eight more columns of the same product add the bias (as three fp16, 33 bits) and take off a bound of everything that
rounding may have added, so that what comes out is a LOWER bound of the true score. With ρ the norm of what a split
leaves,

    |error| ≤ ‖c'‖ (ρ_x + 2^-11·‖x_low‖ + κ‖x'‖)  +  ‖x'‖ ρ_c  +  κ·½‖c'‖²
               split of x, dropped low·low            split of c     bias

κ covers fp32 accumulation, taken as truncating (tensor cores align addends to the largest and cut). A step of 16
products (of 4 inside, if the hardware works in parts) cuts each addend, the accumulator and the sum by at most 2^-23 of
the largest of them, itself at most ‖x‖‖c‖ in a sum over D elements: (4 + 2)/4 = 1.5 cuts an element. Where
codes have two parts, those with a low one come first, while the accumulator is small: at most 2^-10 of the rest. So
κ = (1.6·D_pad + 32)·2^-23; the 32 pays for the extra columns, for c - s and x - s rounded once, for the sums behind the
norms, and for what three fp16 leave of the bias. Each bound is rounded up: times 1 + 2^-6, plus 2^-20, to nearest fp16.

A code whose norm is 2^10 or more ("far") and those that pad the codebook get a score that never wins, and rows that a
far code could be nearest to are compared with all codes (row_columns.py). For dot products those are all rows.

Above 32 dimensions codes have one part, 2·K·D bytes, and 32·K of extra columns. Where a second sweep takes both parts
(D to 64), the high one serves both sweeps; the low one lies beside it, as large, with extra columns that take off the
bounds of two parts. Its products are apart, in the same order: high·low, low·high, high·high, extra columns.

One launch, also for a second sweep; nothing of size N. Every program finds s and β for itself (remedian.py).
Reference: aevae_fast/reference.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from .configuration import SearchConfig
from .remedian import remedian

METRICS = ("euclidean", "cosine", "dot")
EXTRA = tl.constexpr(16)  # columns of the tile of their own that bias and bounds get beside codes in one part
FAR_NORM, LARGEST_BIAS_BOUND = tl.constexpr(2.0**10), tl.constexpr(1900.0)
NEVER = tl.constexpr(60000.0)  # the bias column of a code that never wins: times 2^7, above every score
UP = tl.constexpr(1.0 + 2.0**-6)


class CodeColumns(NamedTuple):
    """What the search kernels read; K padded to whole tiles, columns to powers of two: loops need no masks."""

    codes: torch.Tensor  # [K, D] float32: the codes that exact distances are taken to
    main: torch.Tensor  # [K_pad, columns] fp16
    extra: torch.Tensor  # [K_pad, 16] fp16; `main` again where that holds them
    low: torch.Tensor  # [K_pad, columns] fp16, of a second sweep, beside the high parts in `main`; else `main` again
    bounds: torch.Tensor  # [K_pad / codes of a group, 4] float32: largest ‖c'‖, ρ_c, bias bound in a group
    extremes: torch.Tensor  # [programs, 2] float32: largest ‖c'‖ that is not far, least that is
    shift: torch.Tensor  # [D + 1] float32: s, then β
    open_rows: torch.Tensor  # [1] int32: how many rows a sweep leaves open; 0 before it
    kappa: float
    again: CodeColumns | None = None  # for a second sweep, which shares all but `extra`, `low` and `bounds`


@triton.jit
def power_below(value):
    """The power of two that takes `value` to [2^-4, 2^-3); 1 where there is none."""
    exponent = (value.to(tl.int32, bitcast=True) >> 23) - 127
    power = tl.minimum(tl.maximum(123 - exponent, 1), 254)
    return tl.where((value > 0.0) & (value < float("inf")), (power << 23).to(tl.float32, bitcast=True), 1.0)


@triton.jit
def split(value):
    """value = high + low + residual, the first two fp16."""
    high = value.to(tl.float16)
    rest = value - high.to(tl.float32)
    low = rest.to(tl.float16)
    return high, low, rest - low.to(tl.float32)


@triton.jit
def _extra_columns(i, bias, norm, residual, bias_bound, real):
    """Column i of eight, of the codes' side; the rows' is in row_columns.py."""
    first = (bias * 2.0**-7).to(tl.float16).to(tl.float32)
    rest = bias - first * 2.0**7
    second = (rest * 2.0**5).to(tl.float16).to(tl.float32)
    third = (rest - second * 2.0**-5) * 2.0**14
    value = tl.where(i == 0, tl.where(real, first, NEVER)[:, None], 0.0)
    value = tl.where(i == 1, second[:, None], value)
    value = tl.where(i == 2, third[:, None], value)
    value = tl.where(i == 3, -(norm * (UP * 2.0**-6) + 2.0**-20)[:, None], value)
    value = tl.where(i == 4, -(residual * (UP * 2.0**6) + 2.0**-20)[:, None], value)
    value = tl.where(i == 5, -(bias_bound * (UP * 2.0**5) + 2.0**-20)[:, None], value)
    value = tl.where(real[:, None] | (i == 0), value, 0.0)
    return tl.where(i == 6, 2.0**6, value)


@triton.jit
def _group_largest(value, LANES: tl.constexpr):
    # Group q of a block of codes holds codes 8j + q·(8 / LANES) + 0, 1, … of every step j.
    return tl.max(tl.max(tl.reshape(value, [value.shape[0] // 8, LANES, 8 // LANES]), 2), 0)


@triton.jit
def _code_columns_kernel(
    codebook_ptr, codes_ptr, main_ptr, extra_ptr, bounds_ptr, low_ptr, low_extra_ptr, low_bounds_ptr, extremes_ptr,
    shift_ptr, open_ptr, K, D, kappa,
    METRIC: tl.constexpr, PARTS: tl.constexpr, SEGMENT: tl.constexpr, COLUMNS: tl.constexpr, BLOCK_D: tl.constexpr,
    INLINE: tl.constexpr, LANES: tl.constexpr, BLOCK: tl.constexpr, AGAIN: tl.constexpr,
):  # fmt: skip
    # codebook, codes :: [K, D] fp32   main, low :: [K_pad, COLUMNS] fp16   the rest: CodeColumns; low, low_extra,
    # low_bounds: of a second sweep (AGAIN)
    k = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    if tl.program_id(0) == 0:
        tl.store(open_ptr, 0)
    usual, widest = 0.0, 0.0
    top = tl.zeros([BLOCK], tl.float32)
    for start in range(0, SEGMENT, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        centre = tl.zeros([BLOCK_D], tl.float32)
        if METRIC == "euclidean":
            centre, _most = remedian(codebook_ptr, K, D, d, centre, False)
            if tl.program_id(0) == 0:
                tl.store(shift_ptr + d, centre, mask=d < D)
        if METRIC == "cosine":
            code, _inside = _centred(codebook_ptr, k, d, K, D, METRIC)
            top = tl.maximum(top, tl.max(tl.abs(code), 1))
        else:
            spread, most = remedian(codebook_ptr, K, D, d, centre, True)
            usual = tl.maximum(usual, tl.max(spread, 0))
            widest = tl.maximum(widest, tl.max(most, 0))
    # One for all codes, as scores must compare; for cosine one for each, before its norm is known.
    scale = power_below(top + tl.where(usual > 0.0, usual, widest))
    if METRIC == "euclidean":  # noqa: SIM102  a constant, which Triton prunes by
        if tl.program_id(0) == 0:
            tl.store(shift_ptr + D + tl.arange(0, 1), tl.max(scale, 0) + tl.zeros([1], tl.float32))

    norm_square = tl.zeros([BLOCK], tl.float32)
    for start in range(0, SEGMENT, BLOCK_D):
        code, _inside = _centred(codebook_ptr, k, start + tl.arange(0, BLOCK_D), K, D, METRIC)
        code = code * scale[:, None]
        norm_square += tl.sum(code * code, 1)
    norm = tl.sqrt(norm_square)
    if METRIC == "cosine":
        # 1 / max(‖c‖, 10^-12), as torch.nn.functional.normalize has it.
        inverse = tl.where(norm > 1e-12 * scale, scale / norm, 1e12)
        norm = norm * (inverse / scale)
        scale = inverse
    # Squares that overflow belong to codes that are far too; those with a NaN never win either. Of thousands of
    # dimensions the bound of the bias leaves fp16 first.
    real = (k < K) & (norm < FAR_NORM) & (kappa * 0.5 * norm * norm < LARGEST_BIAS_BOUND)
    rest, least = _store_columns(
        codebook_ptr, codes_ptr, main_ptr, low_ptr, k, real, scale, K, D, METRIC, PARTS, SEGMENT, COLUMNS, INLINE, AGAIN
    )
    if INLINE:
        at = main_ptr + k[:, None] * COLUMNS + PARTS * SEGMENT
        _store_bounds(at, bounds_ptr, real, norm, least, kappa, METRIC, COLUMNS - PARTS * SEGMENT, LANES)
    else:
        at = extra_ptr + k[:, None] * EXTRA
        _store_bounds(at, bounds_ptr, real, norm, rest if PARTS == 1 else least, kappa, METRIC, EXTRA, LANES)
    if AGAIN:
        at = low_extra_ptr + k[:, None] * EXTRA
        _store_bounds(at, low_bounds_ptr, real, norm, least, kappa, METRIC, EXTRA, LANES)
    at = extremes_ptr + tl.program_id(0) * 2
    tl.store(at, tl.max(tl.where(real, norm, 0.0), 0))
    far = norm
    if METRIC == "dot":  # any that is far counts; of distances, none to a code further than a row's largest norm
        far = tl.minimum(norm, 3e38)
    tl.store(at + 1, tl.min(tl.where((k < K) & ~real, far, float("inf")), 0))


@triton.jit
def _centred(codebook_ptr, k, d, K, D, METRIC: tl.constexpr):
    """c - s of codes k and dimensions d, and which of them there are; s as stored, bit for bit: found again, for it may
    be another program that stores it."""
    inside = (k < K)[:, None] & (d < D)[None, :]
    code = tl.load(codebook_ptr + k[:, None] * D + d[None, :], mask=inside, other=0.0)
    if METRIC == "euclidean":
        centre, _most = remedian(codebook_ptr, K, D, d, tl.zeros(d.shape, tl.float32), False)
        code = tl.where(inside, code - centre[None, :], 0.0)
    return code, inside


@triton.jit
def _store_columns(
    codebook_ptr, codes_ptr, main_ptr, low_ptr, k, real, scale, K, D,
    METRIC: tl.constexpr, PARTS: tl.constexpr, SEGMENT: tl.constexpr, COLUMNS: tl.constexpr, INLINE: tl.constexpr,
    AGAIN: tl.constexpr,
):  # fmt: skip
    """The codes' parts; of each code the norms of what the high one leaves, and of what both do."""
    rest_square = tl.zeros([k.shape[0]], tl.float32)
    least_square = tl.zeros([k.shape[0]], tl.float32)
    STEP: tl.constexpr = min(COLUMNS, 32)
    for start in range(0, COLUMNS, STEP):
        e = start + tl.arange(0, STEP)
        segment = e // SEGMENT
        code, inside = _centred(codebook_ptr, k, e % SEGMENT, K, D, METRIC)
        code = code * scale[:, None]
        if METRIC == "cosine":
            at = codes_ptr + k[:, None] * D + e[None, :]
            tl.store(at, code, mask=inside & (segment == 0)[None, :])
        code = tl.where(real[:, None] & (segment < PARTS)[None, :], code, 0.0)
        high, low, residual = split(code)
        value = -high
        if PARTS > 1:
            value = -tl.where((segment == 0)[None, :], low, high)
        tl.store(main_ptr + k[:, None] * COLUMNS + e[None, :], value, mask=((segment < PARTS) | (not INLINE))[None, :])
        if AGAIN:
            tl.store(low_ptr + k[:, None] * COLUMNS + e[None, :], -low)
        rest = residual + low.to(tl.float32)
        rest_square += tl.sum(tl.where((segment == 0)[None, :], rest * rest, 0.0), 1)
        least_square += tl.sum(tl.where((segment == 0)[None, :], residual * residual, 0.0), 1)
    return tl.sqrt(rest_square), tl.sqrt(least_square) + 2.0**-33


@triton.jit
def _store_bounds(
    extra_ptr, bounds_ptr, real, norm, residual, kappa, METRIC: tl.constexpr, EXTRA: tl.constexpr, LANES: tl.constexpr
):
    """Extra columns, and the largest bounds of groups, of codes of which parts leave `residual`."""
    bias = tl.zeros(norm.shape, tl.float32)
    if METRIC == "euclidean":
        bias = tl.where(real, 0.5 * norm * norm, 0.0)
    norm = tl.where(real, norm, 0.0)
    bias_bound = kappa * bias + 2.0**-30
    i = tl.arange(0, EXTRA)[None, :]
    tl.store(extra_ptr + i, _extra_columns(i, bias, norm, residual, bias_bound, real).to(tl.float16))
    at = bounds_ptr + (tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)) * 4
    tl.store(at, _group_largest(norm, LANES))
    tl.store(at + 1, _group_largest(residual, LANES))
    tl.store(at + 2, _group_largest(bias_bound, LANES))


def accumulation_bound(config: SearchConfig) -> float:
    """κ of the docstring."""
    return (1.6 * config.segment + 32) * 2.0**-23


def code_columns(codebook: torch.Tensor, metric: str, config: SearchConfig, again: bool = False) -> CodeColumns:
    """Centre, scale, round and bound a [K, D] float32 codebook; for config.again too, if wanted. They share `main`."""
    if metric not in METRICS:
        raise ValueError(f"metric: expected one of {METRICS}, got {metric!r}")
    size, dimension = codebook.shape
    padded = -(-size // config.block_k) * config.block_k
    if padded * config.columns >= 2**30:
        raise ValueError(f"codebook: expected fewer than 2^30 elements once padded, got [{padded}, {config.columns}]")
    main = codebook.new_empty((padded, config.columns), dtype=torch.float16)
    extra = main if config.inline else main.new_empty((padded, EXTRA.value))
    bounds = codebook.new_empty((padded // config.group, 4))
    block = 8 * config.group_steps  # of whole groups
    extremes = codebook.new_empty((padded // block, 2))
    codes = torch.empty_like(codebook) if metric == "cosine" else codebook
    shift = codebook.new_empty(dimension + 1)
    open_rows = torch.empty(1, dtype=torch.int32, device=codebook.device)
    kappa = accumulation_bound(config)
    low, low_extra, low_bounds = main, extra, bounds
    if again:
        low, low_extra, low_bounds = map(torch.empty_like, (main, extra, bounds))
    _code_columns_kernel[(padded // block,)](
        codebook, codes, main, extra, bounds, low, low_extra, low_bounds, extremes, shift, open_rows, size, dimension,
        kappa,
        METRIC=metric, PARTS=config.parts, SEGMENT=config.segment, COLUMNS=config.columns,
        BLOCK_D=min(config.segment, 32), INLINE=config.inline, LANES=config.lanes, BLOCK=block,
        AGAIN=again, num_warps=8, enable_fp_fusion=True,
    )  # fmt: skip
    columns = CodeColumns(codes, main, extra, main, bounds, extremes, shift, open_rows, kappa)
    if again:
        columns = columns._replace(again=columns._replace(extra=low_extra, low=low, bounds=low_bounds))
    return columns
