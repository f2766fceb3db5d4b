"""Vectors that hold one part for each of several codebooks, seen as rows of parts and back, through strides."""

from torch import Tensor

from ._checks import as_rows


class Parts:
    """x with C·D entries along `dim`, part after part, as rows of D; C follows the axes before `dim`, so that neither
    rows `[..., C·D]` nor channel-first maps are copied. codebooks None: one part, and no axis for it."""

    def __init__(self, x: Tensor, dim: int, codebooks: int | None) -> None:
        self.codebooks, self.axis, self.ndim = codebooks, dim % x.ndim, x.ndim
        self.shape = self.last(x).shape
        self.size = self.shape[-1]

    def last(self, x: Tensor) -> Tensor:
        """A tensor like x → its parts along the last axis, a view."""
        if self.codebooks is None:
            return x.movedim(self.axis, -1)
        return x.unflatten(self.axis, (self.codebooks, -1)).movedim(self.axis + 1, -1)

    def rows(self, x: Tensor) -> Tensor:
        """A tensor like x → [B, S, D], a view where strides allow."""
        return as_rows(self.last(x), -1)

    def mask(self, mask: Tensor | None) -> Tensor | None:
        """A number a vector → a number a part."""
        if mask is None or self.codebooks is None:
            return mask
        return mask.unsqueeze(self.axis).expand(self.shape[:-1])

    def restored(self, rows: Tensor) -> Tensor:
        """What is like `rows(x)`, as x is."""
        last = rows.reshape(self.shape)
        if self.codebooks is None:
            return last.movedim(-1, self.axis)
        return last.movedim(-1, self.axis + 1).flatten(self.axis, self.axis + 1)

    def indices(self, rows: Tensor) -> Tensor:
        """One number a part, as x is without its vectors' axis; the codebooks last."""
        found = rows.reshape(self.shape[:-1])
        return found if self.codebooks is None else found.movedim(self.axis, -1)


def check_codebooks(codebooks: int | None, x: Tensor, dim: int) -> None:
    if codebooks is None:
        return
    if not isinstance(codebooks, int) or codebooks < 1:
        raise ValueError(f"codebooks must be None or a number of at least 1; got {codebooks!r}")
    if x.shape[dim] % codebooks:
        raise ValueError(
            f"x must hold {codebooks} parts of equal size along dim {dim}; got x of shape {tuple(x.shape)}"
        )


def count(mask: Tensor | None, rows: int) -> int | Tensor:
    """How many rows count, at least 1: a number, or a tensor that stays on the device."""
    return max(rows, 1) if mask is None else mask.sum().clamp(min=1)
