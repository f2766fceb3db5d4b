"""The noise of the kernels, drawn by plain int64 arithmetic: Philox4x32-10 and a Box-Muller transform.

Source: Salmon et al., "Parallel Random Numbers: as Easy as 1, 2, 3", 2011. Integers agree bit for bit with the kernels.
"""

import math

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF


def philox(seed: Tensor, counter: Tensor) -> Tensor:
    """seed: one int64, the key of 64 bits; counter [..., 4] int64, words of 32 bits → as many random words."""
    c0, c1, c2, c3 = counter.unbind(-1)
    k0, k1 = seed & _WORD, (seed >> 32) & _WORD
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2  # of 64 bits, as int64 wraps around
        c0, c1 = ((p1 >> 32) & _WORD) ^ c1 ^ k0, p1 & _WORD
        c2, c3 = ((p0 >> 32) & _WORD) ^ c3 ^ k1, p0 & _WORD
        k0, k1 = (k0 + 0x9E3779B9) & _WORD, (k1 + 0xBB67AE85) & _WORD
    return torch.stack([c0, c1, c2, c3], -1)


def normal(bits: Tensor) -> Tensor:
    """Words [..., 4] → standard normals [..., 4], float64: lanes (0, 1) and (2, 3) are each a pair (r·cos θ, r·sin θ),
    r = sqrt(-2 ln u). u is a float32, as in the kernels."""
    radius_bits, angle_bits = bits.unflatten(-1, (2, 2)).unbind(-1)
    u = radius_bits.float() * 2.0**-32 + 2.0**-33
    r = (-2 * u.double().log()).sqrt()
    angle = angle_bits.double() * (2 * math.pi * 2.0**-32)
    return torch.stack([r * angle.cos(), r * angle.sin()], -1).flatten(-2)


def standard_normal(seed: Tensor, samples: int, elements: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """[samples, elements]; element e of sample k takes lane e % 4 of the counter (e // 4 low, e // 4 high, k, 0)."""
    quad = torch.arange(-(-elements // 4), device=seed.device)
    sample = torch.arange(samples, device=seed.device)[:, None].expand(-1, len(quad))
    low, high = (quad & _WORD).expand_as(sample), (quad >> 32).expand_as(sample)
    bits = philox(seed.view(()), torch.stack([low, high, sample, torch.zeros_like(sample)], -1))
    return normal(bits).flatten(1)[:, :elements].to(dtype)
