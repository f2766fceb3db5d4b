"""Finite scalar quantization by autograd alone: each entry bounded, rounded to one of its dimension's levels.

Sources: Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple", 2023 (arXiv:2309.15505), appendix A.1; for
the symmetric variants and the noise Parker et al., 2024 (arXiv:2411.19842), section 3.2.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Bound = Callable[[Tensor, Tensor], Tensor]  # x and how many levels each dimension has → y


def finite_scalar_quantize(
    x: Tensor, levels: list[int], *, variant: str = "tanh", mask: Tensor | None = None, noise: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """x [..., D], D levels, mask [...] bool, True for rows that count → quantized [..., D], indices [...].

    An entry becomes y in units of its levels, y is rounded, and the code is what stands for that level in [-1, 1]; its
    gradient is that of y. Where `noise` [..., D] is a number, y + noise takes the place of the rounded y in the value.
    The index has the first dimension as its lowest digit. A masked row: index -1, zeros; one that is not finite: index
    -1, NaN.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    count = torch.tensor(levels, device=x.device)
    keep = torch.ones(x.shape[:-1], dtype=torch.bool, device=x.device) if mask is None else mask
    kept = torch.where(keep[..., None], x, 0).to(dtype)
    finite = kept.isfinite().all(-1)

    y = BOUNDS[variant](kept, count.to(dtype))
    if variant.startswith("symmetric"):
        digit = (y + 0.5).floor()
        rounded, half_width = 2 * digit - (count - 1), count - 1
        smooth, noisy = (2 * value - (count - 1) for value in (y, y if noise is None else y + noise))
    else:
        half_width = count // 2
        rounded, smooth, noisy = y.round(), y, y if noise is None else y + noise
        digit = rounded + half_width
    value = rounded if noise is None else torch.where(noise.isnan(), rounded, noisy)
    value = torch.where(finite[..., None], value / half_width, torch.nan)
    value = torch.where(keep[..., None], value, 0).detach()
    place = torch.cat([count.new_ones(1), count[:-1].cumprod(0)])
    index = (digit.detach().nan_to_num().long() * place).sum(-1)
    smooth = smooth / half_width
    return (value + (smooth - smooth.detach()).nan_to_num()).to(x.dtype), torch.where(keep & finite, index, -1)


def _centred(bound: Callable[[Tensor], Tensor], inverse: Callable[[Tensor], Tensor], stretch: float) -> Bound:
    """bound(x + shift)·half - offset: an even number of levels lies half a level lower, and shift makes 0 stay 0."""

    def levels_of(x: Tensor, count: Tensor) -> Tensor:
        half = (count - 1) * (1 + stretch) / 2
        offset = torch.where(count % 2 == 0, 0.5, 0.0).to(x)
        return bound(x + inverse(offset / half)) * half - offset

    return levels_of


def _symmetric(bound: Callable[[Tensor], Tensor]) -> Bound:
    return lambda x, count: (count - 1) * (bound(x) + 1) / 2


def _clamp(x: Tensor) -> Tensor:
    return x.clamp(-1, 1)


def _ifsq(x: Tensor) -> Tensor:
    return 2 * torch.sigmoid(1.6 * x) - 1


BOUNDS: dict[str, Bound] = {
    "tanh": _centred(torch.tanh, torch.atanh, 1e-3),
    "tan": _centred(torch.tanh, torch.tan, -1e-3),
    "ifsq": _centred(_ifsq, lambda y: torch.logit((1 + y) / 2) / 1.6, 0.0),
    "clamp": _centred(_clamp, lambda y: y, 1e-3),
    "symmetric": _symmetric(torch.tanh),
    "symmetric_clamp": _symmetric(_clamp),
}
