"""Standard normal noise from counter-based Philox4x32-10; Salmon et al. 2011.

    key = seed (64 bits)    counter = (e // 4 low, e // 4 high, sample, 0)    element e takes lane e % 4

Lanes (0, 1) and (2, 3) are each one Box-Muller pair: a point at radius sqrt(-2 ln u), u = (x + ½)·2⁻³², and a uniform
angle. An element's noise depends on its number alone, so it can be drawn again anywhere. `tl.randn4x` uses the same
integers, but floors u at 1e-7, which ends the tails at 5.68 (here 6.76).

NATIVE uses NVIDIA's own logarithm and sine, which by the PTX manual's bounds stray some 3e-6 from the reference, up to
5e-4 next to radius 0; polynomials, good to 1e-6, serve elsewhere at 30 instructions more a pair.
Reference: aevae_fast/reference/philox.py.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from triton.language.extra.cuda import libdevice


@triton.jit
def standard_normal(seed, quad, sample, NATIVE: tl.constexpr):
    """seed :: [] int64, quad :: [R, Q] int32|int64, the number of an element over 4 → [R, 4·Q] fp32."""
    x0, x1, x2, x3 = _philox(seed, quad, sample)
    n0, n1 = _normal_pair(x0, x1, NATIVE)
    n2, n3 = _normal_pair(x2, x3, NATIVE)
    return tl.reshape(tl.join(tl.join(n0, n2), tl.join(n1, n3)), [quad.shape[0], 4 * quad.shape[1]])


@triton.jit
def _philox(seed, quad, sample):
    """Ten rounds. Each product is one 64-bit multiplication, where `tl.philox` takes one for either half."""
    k0, k1 = seed.to(tl.uint32), (seed >> 32).to(tl.uint32)
    c0 = quad.to(tl.uint32)
    c3 = c0 * 0
    c1 = c3
    if quad.dtype == tl.int64:
        c1 = (quad >> 32).to(tl.uint32)
    c2 = c3 + sample
    for _ in tl.static_range(10):
        p0 = c0.to(tl.uint64) * 0xD2511F53
        p1 = c2.to(tl.uint64) * 0xCD9E8D57
        c0, c1 = (p1 >> 32).to(tl.uint32) ^ c1 ^ k0, p1.to(tl.uint32)
        c2, c3 = (p0 >> 32).to(tl.uint32) ^ c3 ^ k1, p0.to(tl.uint32)
        k0 = tl.add(k0, 0x9E3779B9, sanitize_overflow=False)
        k1 = tl.add(k1, 0xBB67AE85, sanitize_overflow=False)
    return c0, c1, c2, c3


@triton.jit
def _normal_pair(radius_bits, angle_bits, NATIVE: tl.constexpr):
    """Two words of 32 random bits → two independent standard normals."""
    u = radius_bits.to(tl.float32) * 2.3283064365386963e-10 + 1.1641532182693481e-10
    if NATIVE:
        r = tl.sqrt(tl.abs(1.3862943611198906 * libdevice.fast_log2f(u)))  # next to 1 the logarithm's sign may be wrong
        angle = angle_bits.to(tl.int32, bitcast=True).to(tl.float32) * 1.4629180792671596e-9  # 2π · 2⁻³²
        return r * libdevice.fast_cosf(angle), r * libdevice.fast_sinf(angle)
    else:
        r = tl.sqrt(_minus_two_log(u))
        # Sine and cosine within ±π/4, by Cephes' polynomials, of what is left of the angle beyond its quarter turns.
        turns = (angle_bits + 0x20000000) >> 30
        rest = (angle_bits - (turns << 30)).to(tl.int32, bitcast=True)
        a = rest.to(tl.float32) * 1.4629180792671596e-9
        s = a * a
        sine = a + a * s * (-1.6666654611e-1 + s * (8.3321608736e-3 + s * -1.9515295891e-4))
        cosine = 4.166664568298827e-2 + s * (-1.388731625493765e-3 + s * 2.443315711809948e-5)
        cosine = 1.0 + s * (-0.5 + s * cosine)
        odd = (turns & 1) != 0
        first = tl.where(odd, sine, cosine)
        second = tl.where(odd, cosine, sine)
        first = tl.where(((turns + 1) & 2) != 0, -first, first)
        return r * first, r * tl.where((turns & 2) != 0, -second, second)


@triton.jit
def _minus_two_log(u):
    """-2 ln u of a normal number in (0, 1], to 2e-7 of it: tl.log also looks for zeros, infinities and subnormals."""
    bits = u.to(tl.int32, bitcast=True)
    exponent = (bits - 0x3F3504F3) >> 23  # u = (1 + f)·2^exponent, 1 + f in [√½, √2)
    f = (bits - (exponent << 23)).to(tl.float32, bitcast=True) - 1.0
    # -2 ln(1 + f)/f, fitted at Chebyshev nodes.
    q = -3.97971301e-01 + f * (3.44940266e-01 + f * (-3.24683796e-01 + f * 2.02681135e-01))
    q = -1.99999989e00 + f * (1.00000726e00 + f * (-6.66702283e-01 + f * (4.99401434e-01 + f * q)))
    return exponent.to(tl.float32) * -1.3862943611198906 + f * q


def native(device: torch.device) -> bool:
    """Whether the device is NVIDIA's, beyond the interpreter."""
    return device.type == "cuda" and torch.version.hip is None
