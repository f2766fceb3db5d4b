"""Layers made of layers with codebooks, which are steered together."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Union

from torch import nn
from torch.optim import Optimizer

if TYPE_CHECKING:
    from .codebook_layer import CodebookLayer


class Steered(nn.Module):
    """A layer whose parts have codebooks."""

    @abstractmethod
    def _parts(self) -> Sequence[Union["CodebookLayer", "Steered"]]:
        """The layers that it is made of."""

    @property
    def freeze_codebook(self) -> bool:
        """Whether all codebooks stay as they are in training."""
        return all(part.freeze_codebook for part in self._parts())

    @freeze_codebook.setter
    def freeze_codebook(self, frozen: bool) -> None:
        for part in self._parts():
            part.freeze_codebook = frozen

    def step_with(self, optimizer: Optimizer) -> None:
        """Let the codebooks move only when this optimizer steps, as `VectorQuantize.step_with`."""
        for part in self._parts():
            part.step_with(optimizer)
