"""What residual quantizers share: in training they may use their first stages alone, and their indices decode alike."""

from abc import abstractmethod

import torch
from torch import Tensor, nn

from .residual_decoding import check_stage_indices


class ResidualLayer(nn.Module):
    """A quantizer of `num_quantizers` stages, Q, of `codebook_sizes` codes."""

    num_quantizers: int

    @property
    @abstractmethod
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of each stage."""

    @abstractmethod
    def _stage_codes(self, indices: Tensor) -> Tensor:
        """indices [..., Q'] of the first Q' stages, none out of range → codes [Q, ..., D], 0 where there is none."""

    def _set_stages(self, stages: int, dropout: bool, cutoff_index: int, multiple_of: int) -> None:
        check_dropout(stages, cutoff_index, multiple_of)
        self.num_quantizers, self.quantize_dropout = stages, dropout and stages > 1
        self.quantize_dropout_cutoff_index, self.quantize_dropout_multiple_of = cutoff_index, multiple_of

    def draw_active(self, x: Tensor) -> Tensor | None:
        """How many stages a forward of x uses, 0-d int64 on its device, from torch's generator: the last stage in use
        evenly from the cutoff index on, their number rounded up to the multiple. None: all."""
        if not (self.training and self.quantize_dropout):
            return None
        last = torch.randint(self.quantize_dropout_cutoff_index, self.num_quantizers, (), device=x.device)
        multiple = self.quantize_dropout_multiple_of
        return ((last + multiple) // multiple * multiple).clamp(max=self.num_quantizers)

    def get_codes_from_indices(self, indices: Tensor) -> Tensor:
        """indices `[..., Q']` int64 of the first Q' stages → the codes of all stages, `[Q, ..., D]` float32, whatever
        the layout; zeros where an index is -1 and for stages that are left out.

        Raises:
            TypeError, ValueError: indices do not fit, or one is out of range, which is named (to see that waits for the
                device).
        """
        check_stage_indices(indices, self.codebook_sizes)
        return self._stage_codes(indices)


def check_dropout(stages: int, cutoff_index: int, multiple_of: int) -> None:
    if not 0 <= cutoff_index < stages:
        raise ValueError(f"quantize_dropout_cutoff_index must lie in [0, {stages}), a stage; got {cutoff_index}")
    if multiple_of < 1:
        raise ValueError(f"quantize_dropout_multiple_of must be at least 1; got {multiple_of}")
