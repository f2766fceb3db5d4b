"""Several codes for one vector: it is cut into heads, which share a codebook or have one each."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Part(NamedTuple):
    """Vectors that meet one codebook: x holds them along `axis`; mask and indices have its other axes."""

    x: Tensor
    mask: Tensor | None
    axis: int


class Heads(NamedTuple):
    """`number` heads of `size` along axis `axis`, -1 or 1, head after head."""

    number: int
    size: int
    axis: int
    separate: bool

    def split(self, x: Tensor, mask: Tensor | None) -> list[Part]:
        """x with number·size along `axis` → one part for each codebook: views."""
        if self.number == 1:
            return [Part(x, mask, self.axis)]
        axis = x.ndim - 1 if self.axis == -1 else self.axis
        cut = x.unflatten(axis, (self.number, self.size))
        if self.separate:
            return [Part(head, mask, self.axis) for head in cut.unbind(axis)]
        if mask is not None:
            mask = mask.unsqueeze(axis).expand(*mask.shape[:axis], self.number, *mask.shape[axis:])
        return [Part(cut, mask, axis + 1)]

    def unit(self, x: Tensor) -> Tensor:
        """Each head of x divided by its length, float32 or wider."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        if self.number == 1:
            return F.normalize(wide, dim=self.axis)
        axis = x.ndim - 1 if self.axis == -1 else self.axis
        return F.normalize(wide.unflatten(axis, (self.number, self.size)), dim=axis + 1).flatten(axis, axis + 1)

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Quantized parts → number·size along `axis`."""
        if self.number == 1:
            return parts[0]
        if self.separate:
            axis = parts[0].ndim - 1 if self.axis == -1 else self.axis
            return torch.cat(list(parts), axis)
        axis = parts[0].ndim - 2 if self.axis == -1 else self.axis
        return parts[0].flatten(axis, axis + 1)

    def join_indices(self, parts: Sequence[Tensor]) -> Tensor:
        """Indices of the parts → `[...]`, or `[..., number]` of several heads."""
        if self.number == 1:
            return parts[0]
        return torch.stack(list(parts), -1) if self.separate else parts[0].movedim(self.axis, -1)

    def split_indices(self, indices: Tensor) -> list[Tensor]:
        """The inverse of `join_indices`."""
        if self.number == 1:
            return [indices]
        return list(indices.unbind(-1)) if self.separate else [indices.movedim(-1, self.axis)]
