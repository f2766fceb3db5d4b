"""The gradient through the choice of a code, beyond what `functional.vector_quantize` offers.

Each takes `quantized` as that function returned it, which carries the codebook's statistics and, for a straight-through
estimate, the identity's gradient.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import functional
from ..functional import Impl
from ..functional._autograd import Accompanied
from .heads import Part


def directional(part: Part, codes: Tensor, quantized: Tensor, indices: Tensor, variance: float) -> Tensor:
    """DiVeQ (Vali et al. 2025): x + ‖c - x‖·sg[unit((c - x) + σn)], n standard normal noise of torch's generator.

    With noise the value is the code only nearly, by definition; with variance 0 it is the code itself. Gradient: to x
    directly and through the distance, to the codes through the distance.
    """
    valid = (indices >= 0)[..., None]
    code = codes[indices.clamp(min=0)]
    x = part.x.movedim(part.axis, -1).to(code.dtype).where(valid, code.detach())  # no distance where there is no code
    error = code - x
    aim = error.detach()
    if variance > 0:
        aim = aim + variance**0.5 * torch.randn_like(aim)
    step = error.norm(dim=-1, keepdim=True) * F.normalize(aim, dim=-1)
    # quantized is the code with the gradient of x: what is added leads back to x, and from there.
    moved = step - (error if variance > 0 else step).detach()
    return quantized + moved.where(valid, 0.0).to(quantized.dtype).movedim(-1, part.axis)


def soft(
    part: Part, codes: Tensor, quantized: Tensor, indices: Tensor, metric: str, temperature: float, impl: Impl | None
) -> Tensor:
    """The code itself, with the gradient of a softmax over all codes (`functional.soft_straight_through`). Gradient
    reaches codes that require it: for index backpropagation (IBQ) all of them, for Gumbel straight-through none."""
    found = functional.soft_straight_through(
        part.x, codes, indices, metric=metric, temperature=temperature, dim=part.axis, impl=impl
    )
    if part.mask is not None:
        found = found.where(part.mask.unsqueeze(part.axis), 0.0)
    return Accompanied.apply(found, quantized)
