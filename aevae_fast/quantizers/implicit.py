"""Quantizers whose codes are functions of their indices: several codebooks side by side, indices and back."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .layout import Layout
from .projected import Projected


class ImplicitCodebook(Projected):
    """x holds, after `project_in`, `num_codebooks` vectors of `codebook_dim` entries one after the other, each with an
    index of its own."""

    def __init__(
        self,
        dim: int | None,
        codebook_dim: int,
        codebook_size: int,
        *,
        num_codebooks: int,
        keep_num_codebooks_dim: bool | None,
        scheme: Sequence[int],
        **options: Any,
    ) -> None:
        if not isinstance(num_codebooks, int) or num_codebooks < 1:
            raise ValueError(f"num_codebooks must be a number of at least 1; got {num_codebooks!r}")
        if num_codebooks > 1 and keep_num_codebooks_dim is False:
            raise ValueError(f"keep_num_codebooks_dim must be True for num_codebooks={num_codebooks}; got False")
        super().__init__(dim, codebook_dim * num_codebooks, scheme=[*scheme, num_codebooks], **options)
        self.codebook_dim, self.codebook_size, self.num_codebooks = codebook_dim, codebook_size, num_codebooks
        self.effective_codebook_dim = codebook_dim * num_codebooks
        self.keep_num_codebooks_dim = num_codebooks > 1 if keep_num_codebooks_dim is None else keep_num_codebooks_dim

    @property
    def _codebooks(self) -> int | None:
        """The functional operations' `codebooks`."""
        return self.num_codebooks if self.keep_num_codebooks_dim else None

    @abstractmethod
    def _codes(self, indices: Tensor) -> Tensor:
        """indices [...] int64, none below 0 → codes [..., codebook_dim] float32."""

    @abstractmethod
    def _indices(self, codes: Tensor) -> Tensor:
        """codes [..., codebook_dim] → indices [...] int64."""

    def indices_to_codes(self, indices: Tensor, project_out: bool = True) -> Tensor:
        """indices as forward returns them → what it returned for them, float32 or as `project_out` computes; in a map's
        layout for the indices of a map. Zeros where an index is -1. project_out: False for the codes themselves.

        Raises:
            TypeError, ValueError: the dtype, the shape or a value does not fit, named. To see the values waits for the
                device; a program that is being compiled does not look.
        """
        check_indices(indices, self.codebook_size)
        if self.keep_num_codebooks_dim and (indices.ndim == 0 or indices.shape[-1] != self.num_codebooks):
            raise ValueError(f"indices must have shape [..., {self.num_codebooks}]; got {tuple(indices.shape)}")
        found = indices >= 0
        codes = self._codes(indices.clamp(min=0)).where(found[..., None], 0.0)
        if self.keep_num_codebooks_dim:
            codes, found = codes.flatten(-2), found.all(-1)
        return self._placed(self._projected_out(codes, found) if project_out else codes)

    def codes_to_indices(self, codes: Tensor) -> Tensor:
        """Codes as `indices_to_codes` gives them with project_out=False, or as they entered `project_out` → indices."""
        layout = Layout(self.effective_codebook_dim, not self._moves_channels(codes.ndim))
        layout.check(codes)
        last = layout.to_last(codes)
        return self._indices(last.unflatten(-1, (self.num_codebooks, -1)) if self.keep_num_codebooks_dim else last)

    # The names that the quantizers with stored codebooks have.

    def get_codes_from_indices(self, indices: Tensor) -> Tensor:
        """`indices_to_codes` without the projection."""
        return self.indices_to_codes(indices, project_out=False)

    def get_output_from_indices(self, indices: Tensor) -> Tensor:
        """`indices_to_codes`: what forward returned for them."""
        return self.indices_to_codes(indices)

    @property
    def codebook(self) -> Tensor:
        """All codes, `[codebook_size, codebook_dim]` float32, computed anew: they are not stored."""
        return self._codes(torch.arange(self.codebook_size, device=self.scheme.device))


def check_indices(indices: Tensor, size: int) -> None:
    """int64 in [-1, size)?

    Raises:
        TypeError, ValueError: no, named with the value and its place. Waits for the device, so not where a program is
            being compiled.
    """
    if not isinstance(indices, Tensor):
        raise TypeError(f"indices must be a torch.Tensor; got {type(indices).__name__}")
    if indices.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"indices must be torch.int64 or torch.int32; got {indices.dtype}")
    if torch.compiler.is_compiling():
        return
    wrong = ((indices < -1) | (indices >= size)).nonzero()
    if len(wrong):
        place = tuple(wrong[0].tolist())
        raise ValueError(f"indices must lie in [-1, {size}); got {int(indices[place])} at {place}")
