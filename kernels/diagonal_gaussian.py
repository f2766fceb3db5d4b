"""The arithmetic that the Gaussian kernels share: addresses of a tile, σ from its parameter, the KL of one element.

    KL(N(μ, σ²) ‖ N(m, s²)) = ½(u² + h(w)),   u = (μ - m)/s,   w = ln σ² - ln s²,   h(w) = eʷ - 1 - w

h cancels near 0, where it is w²/2. There it comes from the same polynomial as the exponential: with w/2 = f + n·ln 2
and eᶠ = 1 + f + t, h = 2t + (f + t)² where n = 0. Everything in float32.
Reference: aevae_fast/reference/gaussian_kl.py.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl


@triton.jit
def tile(
    R, D, blocks_d, WIDE: tl.constexpr, WHOLE: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr
):  # fmt: skip
    """Of this program: rows [R], columns [R or 1, C], what lies inside, element numbers, and those over 4 [R, C / 4].

    A tile starts at an element whose number is a multiple of 4, before its row where D is no such multiple.
    """
    block = tl.program_id(0)
    first = block // blocks_d
    if WIDE:
        first = first.to(tl.int64)
    row = first * BLOCK_R + tl.arange(0, BLOCK_R)
    start = (block % blocks_d).to(tl.int64) * BLOCK_D
    column = (start + tl.arange(0, BLOCK_D))[None, :]
    head = row.to(tl.int64) * D
    if WHOLE:
        inside = (row < R)[:, None] & (column < D)
        quad = (head + start) // 4
    else:
        column -= (head % 4)[:, None]
        inside = (row < R)[:, None] & (column < D) & (column >= 0)
        quad = head // 4 + start // 4
    return row, column, inside, head[:, None] + column, quad[:, None] + tl.arange(0, BLOCK_D // 4)[None, :]


@triton.jit
def load(pointer, row, column, inside, S, stride_b, stride_s, stride_d):
    """Rows and columns of a strided [B, S, D] view, as fp32; offsets are int64, as they may pass 2^31."""
    base = (row // S).to(tl.int64) * stride_b + (row % S).to(tl.int64) * stride_s
    return tl.load(pointer + (base[:, None] + column * stride_d), mask=inside, other=0.0).to(tl.float32)


@triton.jit
def clamped(p, lo, hi, CLAMP: tl.constexpr):
    """p within [lo, hi]; what is not finite becomes NaN, so that it shows."""
    if CLAMP:
        nothing = p * 0.0
        p = tl.where(p < lo, lo, tl.where(p > hi, hi, p)) + nothing
    return p


@triton.jit
def exp_and_excess(x):
    """σ = eˣ to 2 ulp, h(2x) = σ² - 1 - 2x and h'(2x) = σ² - 1 without cancellation."""
    n = tl.floor(x * 1.4426950408889634 + 0.5)
    f = (x - n * 0.693359375) + n * 2.1219444005469057e-4  # ln 2 in two parts, the first exact times n
    twice = 8.33329298e-02 + f * (1.67263602e-02 + f * 2.78673008e-03)  # 2t, fitted to 1.4e-7 of it over |f| <= ½ ln 2
    twice = f * f * (1.00000000e00 + f * (3.33331540e-01 + f * twice))
    q = f + 0.5 * twice
    power = tl.exp2(n)
    sigma = power + power * q
    slope = sigma * sigma - 1.0
    h = tl.where(n == 0.0, twice + q * q, slope - 2.0 * x)
    return sigma, h, tl.where(n == 0.0, 2.0 * q + q * q, slope)


@triton.jit
def spread(p, PARAMETERIZATION: tl.constexpr):
    """σ, ln σ, h(ln σ²) and h'(ln σ²) of a parameter p; NaN for a negative standard deviation."""
    if PARAMETERIZATION == "logvar":
        log_sigma = 0.5 * p
    elif PARAMETERIZATION == "logstd":
        log_sigma = p
    elif PARAMETERIZATION == "std":
        log_sigma = 0.6931471805599453 * tl.log2(tl.where(p < 0.0, float("nan"), p))
    else:
        log_sigma = 0.6931471805599453 * tl.log2(_softplus(p))
    sigma, h, slope = exp_and_excess(log_sigma)
    if PARAMETERIZATION == "std":
        sigma = tl.where(p < 0.0, float("nan"), p)
    elif PARAMETERIZATION == "softplus":
        sigma = _softplus(p)
    return sigma, log_sigma, h, slope


@triton.jit
def _softplus(p):
    """ln(1 + eᵖ), the logarithm without cancellation (Kahan)."""
    e, _, _ = exp_and_excess(-tl.abs(p))
    u = 1.0 + e
    return tl.maximum(p, 0.0) + tl.where(u == 1.0, e, 0.6931471805599453 * tl.log2(u) * (e / (u - 1.0)))


@triton.jit
def spread_slope(p, sigma, PARAMETERIZATION: tl.constexpr):
    """d ln σ² / dp."""
    if PARAMETERIZATION == "logvar":
        return tl.full(p.shape, 1.0, tl.float32)
    elif PARAMETERIZATION == "logstd":
        return tl.full(p.shape, 2.0, tl.float32)
    elif PARAMETERIZATION == "std":
        return 2.0 / sigma
    else:
        e, _, _ = exp_and_excess(-tl.abs(p))
        return 2.0 * tl.where(p < 0.0, e, 1.0) / ((1.0 + e) * sigma)


@triton.jit
def against_prior(mean, log_sigma, h, slope, prior_mean, prior_logvar, HAS_PRIOR: tl.constexpr):
    """u, h(w), h'(w) and 1/s."""
    if HAS_PRIOR:
        scale, _, _ = exp_and_excess(-0.5 * prior_logvar)
        _, h, slope = exp_and_excess(log_sigma - 0.5 * prior_logvar)
        return (mean - prior_mean) * scale, h, slope, scale
    else:
        return mean, h, slope, 1.0


@triton.jit
def store_kl(
    kl_ptr, doubled, row, element, inside, R, blocks_d, free_bits, FREE_BITS: tl.constexpr, REDUCTION: tl.constexpr
):
    """Half of u² + h: per element, as one partial sum per row and program, or as one per program."""
    if FREE_BITS:
        doubled = tl.where(doubled < 2.0 * free_bits, 2.0 * free_bits, doubled)
    if REDUCTION == "none":
        tl.store(kl_ptr + element, 0.5 * doubled, mask=inside)
    elif REDUCTION == "latent":
        total = 0.5 * tl.sum(tl.where(inside, doubled, 0.0), 1)
        tl.store(kl_ptr + row.to(tl.int64) * blocks_d + tl.program_id(0) % blocks_d, total, mask=row < R)
    else:
        tl.store(kl_ptr + tl.program_id(0), 0.5 * tl.sum(tl.where(inside, doubled, 0.0)))


class Tiling(NamedTuple):
    """How a [B, S, D] view is cut into programs: a pure function of its shape."""

    rows: int
    blocks_d: int
    programs: int
    constants: dict[str, bool | int]


def tiling(shape: torch.Size) -> Tiling:
    """Tiles of about 2048 elements, as wide as leaves at most a fifth of the last one in a row empty."""
    batch, length, dimension = shape
    rows, whole = batch * length, dimension % 4 == 0
    reach = dimension if whole else dimension + 3
    widths = (1024, 512, 256, 128, 64, 32, 16)
    block_d = next((w for w in widths if triton.cdiv(reach, w) * w <= 1.25 * reach), 8)
    block_r, blocks_d = 2048 // block_d, triton.cdiv(reach, block_d)
    programs = triton.cdiv(rows, block_r) * blocks_d
    wide = rows + block_r >= 2**31
    return Tiling(rows, blocks_d, programs, {"WIDE": wide, "WHOLE": whole, "BLOCK_R": block_r, "BLOCK_D": block_d})


def new_kl(mean: torch.Tensor, cut: Tiling, reduction: str) -> torch.Tensor:
    """What the kernels write: a KL per element, per row and program, or per program; fp32."""
    shapes = {"none": mean.shape, "latent": (cut.rows, cut.blocks_d), "batch": (cut.programs,)}
    return mean.new_empty(shapes[reduction], dtype=torch.float32)


def summed(kl: torch.Tensor, batch: int, reduction: str) -> torch.Tensor:
    """Partial sums joined: [B] for "latent", [] for "batch", the elements as they are for "none"."""
    if reduction == "none":
        return kl
    if reduction == "batch":
        return kl.sum()
    return kl.view(batch, -1).sum(1) if kl.numel() else kl.new_zeros(batch)


def bounds(clamp: list[float] | None) -> dict[str, float | bool]:
    lo, hi = clamp or (0.0, 0.0)
    return {"lo": lo, "hi": hi, "CLAMP": clamp is not None}


def prior_arguments(mean: torch.Tensor, prior_mean: torch.Tensor | None, prior_logvar: torch.Tensor | None) -> tuple:
    """The prior's tensors, which the kernel never reads where there is none, and their strides."""
    if prior_mean is None or prior_logvar is None:
        return (mean, mean), (0,) * 6
    return (prior_mean, prior_logvar), (*prior_mean.stride(), *prior_logvar.stride())
