"""The arithmetic that the Gaussian kernels share: σ from its parameter, the KL of one element and its derivatives.

    KL(N(μ, σ²) ‖ N(m, s²)) = ½(u² + h(w)),   u = (μ - m)/s,   w = ln σ² - ln s²,   h(w) = eʷ - 1 - w

h cancels near 0, where it is w²/2. Given w ("logvar", "logstd") it comes there from the same polynomial as the
exponential: with w/2 = f + n·ln 2 and eᶠ = 1 + f + t, h = 2t + (f + t)² where n = 0. Given ρ = σ/s ("std", "softplus")
it is (ρ - 1)²·P(ρ - 1) near 1, and ρ² - 1 - 2 ln ρ elsewhere, good to 2⁻²¹ with NVIDIA's own logarithm. All in float32.
Polynomials are fitted to the least relative error. Reference: aevae_fast/reference/gaussian_kl.py.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra.cuda import libdevice

TWO_LN2 = tl.constexpr(1.3862943611198906)


@triton.jit
def clamped(p, lo, hi, CLAMP: tl.constexpr):
    """p within [lo, hi]; what is not finite becomes NaN, so that it shows."""
    if CLAMP:
        nothing = p * 0.0
        p = tl.where(p < lo, lo, tl.where(p > hi, hi, p)) + nothing
    return p


@triton.jit
def _exp(x):
    """eˣ to 3 ulp: the power of two of a rounded x·log₂e, and to first order what rounding took."""
    t = x * 1.4426950408889634
    power = tl.exp2(t)
    return power + power * (x - t * 0.6931471805599453)


@triton.jit
def _exp_and_excess(w):
    """σ = e^(w/2) to 2 ulp, h(w) and h'(w) = σ² - 1 without cancellation."""
    x = 0.5 * w
    n = (x * 1.4426950408889634 + 12582912.0) - 12582912.0  # to nearest, as no bits are left below 1
    f = (x - n * 0.693359375) + n * 2.1219444005469057e-4  # ln 2 in two parts, the first exact times n
    twice = 8.33329298e-02 + f * (1.67263602e-02 + f * 2.78673008e-03)  # 2t, good to 1.4e-7 of it over |f| <= ½ ln 2
    twice = f * f * (1.00000000e00 + f * (3.33331540e-01 + f * twice))
    q = f + 0.5 * twice
    power = tl.exp2(n)
    near = twice + q * q
    square = power * power  # σ² = square·(1 + q)², of which 1 + near + 2f is the second; squaring σ doubles its error
    rest = near + 2.0 * f
    h = tl.where(n == 0.0, near, square * rest + ((square - 1.0) - w))
    return power + power * q, h, square * rest + (square - 1.0)


@triton.jit
def _ratio_excess(ratio, NATIVE: tl.constexpr):
    """h(2 ln ρ) and its derivative to ln ρ², ρ² - 1, of ρ = σ/s; NaN for a negative one."""
    d = ratio - 1.0
    slope = d * (ratio + 1.0)
    p = -2.75378138e-01 + d * (2.36735731e-01 + d * (-3.03441018e-01 + d * 2.86741138e-01))
    p = 4.99985367e-01 + d * (-4.00465548e-01 + d * (3.34116429e-01 + d * p))
    near = d * d * (2.00000000e00 + d * (-6.66661263e-01 + d * p))  # good to 1.5e-7 of it over |d| < 0.4
    logarithm = libdevice.fast_log2f(ratio) if NATIVE else tl.log2(ratio)
    return tl.where(tl.abs(d) < 0.4, near, slope - TWO_LN2 * logarithm), slope


@triton.jit
def _softplus(p):
    """ln(1 + eᵖ) = max(p, 0) + ln(1 + e), e = e^-|p|, and e: a normal number for p above -87."""
    e = _exp(-tl.abs(p))
    log = -2.48429775e-01 + e * (
        1.91059885e-01 + e * (-1.36632069e-01 + e * (7.82254939e-02 + e * (-2.95049575e-02 + e * 5.23262408e-03)))
    )
    log = 9.99999970e-01 + e * (-4.99994931e-01 + e * (3.33190962e-01 + e * log))
    return tl.maximum(p, 0.0) + e * log, e


@triton.jit
def spread(p, prior_logvar, PARAMETERIZATION: tl.constexpr, HAS_PRIOR: tl.constexpr, NATIVE: tl.constexpr):
    """σ of a parameter p, h(w), h'(w) and 1/s; NaN for a negative standard deviation."""
    scale = 1.0
    if HAS_PRIOR:
        scale = _exp(-0.5 * prior_logvar)
    if PARAMETERIZATION == "logvar" or PARAMETERIZATION == "logstd":
        w = p if PARAMETERIZATION == "logvar" else 2.0 * p
        if HAS_PRIOR:
            sigma = _exp(0.5 * w)
            _, h, slope = _exp_and_excess(w - prior_logvar)
        else:
            sigma, h, slope = _exp_and_excess(w)
    else:
        if PARAMETERIZATION == "std":
            sigma = tl.where(p < 0.0, float("nan"), p)
        else:
            sigma, _ = _softplus(p)
        h, slope = _ratio_excess(sigma * scale, NATIVE)
    return sigma, h, slope, scale


@triton.jit
def spread_slope(p, sigma, PARAMETERIZATION: tl.constexpr):
    """d ln σ² / dp; for "std", where p is σ, of σ."""
    if PARAMETERIZATION == "logstd":
        return tl.full(p.shape, 2.0, tl.float32)
    elif PARAMETERIZATION == "softplus":
        _, e = _softplus(p)
        return 2.0 * tl.where(p < 0.0, e, 1.0) / ((1.0 + e) * sigma)
    else:
        return tl.full(p.shape, 1.0, tl.float32)
