"""Where the vectors lie in a tensor, and which of them count: the one path that all quantizers take.

Nothing is flattened or copied here. A layer asks for the axis that holds the vectors and a mask of the remaining axes;
operations read the rest through strides. In order of use:

    layout = Layout(dim=256, channel_last=False)
    mask = layout.check(x, mask, lens)          # names what does not fit; lens become a mask; None: all count
    x = layout.blank(x, mask)                   # what stands in masked places must not reach a gradient
    ... functional.NAME(x, ..., mask=mask, dim=layout.axis)
    codes = layout.from_last(codes)             # [..., D] to where the vectors lie
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..functional._checks import check_device, check_input, check_rows


class Layout(NamedTuple):
    """Vectors of size `dim` along the last axis, `[..., dim]`, or along the second, `[B, dim, ...]`: sequences, image
    maps `[B, dim, H, W]`, maps `[B, dim, D, H, W]`, and single tokens `[B, dim]` in either case."""

    dim: int
    channel_last: bool = True

    @property
    def axis(self) -> int:
        """The axis of x that holds the vectors."""
        return -1 if self.channel_last else 1

    def check(self, x: Tensor, mask: Tensor | None = None, lens: Tensor | None = None) -> Tensor | None:
        """Does x fit, and which of its vectors count?

        Args:
            x: float16, bfloat16, float32 or float64.
            mask: bool, x's shape without the axis of the vectors; True where a vector counts.
            lens: integers `[B]`: how many of the vectors of each batch entry count, the first ones; over more than one
                further axis they are counted row by row.

        Returns:
            The mask, x's shape without the axis of the vectors; None where all count.

        Raises:
            TypeError, ValueError: x, mask or lens does not fit, or mask and lens are both given; named.
        """
        check_input(x, -1)
        if x.ndim < (1 if self.channel_last else 2) or x.shape[self.axis] != self.dim:
            expected = f"[..., {self.dim}]" if self.channel_last else f"[B, {self.dim}, ...]"
            raise ValueError(f"x must have shape {expected}; got {tuple(x.shape)}")
        if mask is not None:
            if lens is not None:
                raise ValueError("mask and lens both say which vectors count; give one of them")
            check_rows("mask", mask, torch.bool, x, self.axis)
        return mask if lens is None else self._mask_of(x, lens)

    def _mask_of(self, x: Tensor, lens: Tensor) -> Tensor:
        if not isinstance(lens, Tensor):
            raise TypeError(f"lens must be a torch.Tensor; got {type(lens).__name__}")
        if lens.dtype not in (torch.int64, torch.int32):
            raise TypeError(f"lens must be torch.int64 or torch.int32; got {lens.dtype}")
        places = self.places(x)
        if len(places) < 2 or lens.shape != places[:1]:
            shapes = f"got {tuple(lens.shape)} for x of shape {tuple(x.shape)}"
            raise ValueError(f"lens must hold one number for each of x's batch entries, which are sequences; {shapes}")
        check_device("lens", lens, x)
        number = torch.arange(places[1:].numel(), device=x.device).view(places[1:])
        return number < lens.view(-1, *[1] * (len(places) - 1))

    def places(self, x: Tensor) -> torch.Size:
        """The shape of one number a vector: x's without the axis of the vectors."""
        return x.movedim(self.axis, -1).shape[:-1]

    def blank(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x, with zeros where the mask is False; no gradient goes there, whatever stands there."""
        return x if mask is None else x.where(mask.unsqueeze(self.axis), 0.0)

    def to_last(self, x: Tensor) -> Tensor:
        """x as `[..., dim]`, a view."""
        return x.movedim(self.axis, -1)

    def from_last(self, rows: Tensor) -> Tensor:
        """`[..., dim]` as x lies, a view."""
        return rows.movedim(-1, self.axis)
