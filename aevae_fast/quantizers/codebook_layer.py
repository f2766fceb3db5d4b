"""What a layer with a codebook shows of it, and how it is steered."""

import weakref

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .codebook import Codebook
from .decoding import look_up
from .heads import Heads
from .layout import Layout
from .loading import LoadsWhole


class CodebookLayer(LoadsWhole):
    """A layer around one `Codebook`."""

    dim: int
    heads: int
    estimator: str
    project_out: nn.Module
    _codebook: Codebook
    _layout: Layout
    _heads: Heads

    @property
    def freeze_codebook(self) -> bool:
        """Whether the codebook stays as it is in training; gradients reach the encoder all the same."""
        return self._codebook.frozen

    @freeze_codebook.setter
    def freeze_codebook(self, frozen: bool) -> None:
        self._codebook.frozen = frozen

    @property
    def rotation_trick(self) -> bool:
        return self.estimator == "rotation"

    @property
    def codebook(self) -> Tensor:
        """The codes, `[K, codebook_dim]` float32; `[heads, K, codebook_dim]` where each head has its own."""
        return self._codebook.codes

    def step_with(self, optimizer: Optimizer) -> None:
        """Let the codebook move only when this optimizer steps. Without it any optimizer's step moves a codebook whose
        statistics wait, which is one too many where, say, a discriminator steps while gradients still accumulate."""
        self._codebook.optimizer = weakref.ref(optimizer)

    def get_codes_from_indices(self, indices: Tensor) -> Tensor:
        """indices int64, as forward returns them → what it returned for them: `[..., dim]`, or `[B, dim, ...]` for a
        channel-first layer; zeros where an index is -1."""
        codes = look_up(self.codebook, indices, self.heads)
        weight = getattr(self.project_out, "weight", codes)
        found = (indices >= 0) if self.heads == 1 else (indices >= 0).any(-1)
        return self._layout.from_last(self.project_out(codes.to(weight.dtype)).where(found[..., None], 0.0))

    get_output_from_indices = get_codes_from_indices

    @property
    def perplexity(self) -> Tensor:
        """exp of the entropy of the codes' running usage, mean over codebooks; 0-d float32 in [1, K], on the device."""
        share = self._codebook.cluster_size / self._codebook.cluster_size.sum(1, keepdim=True)
        return torch.special.entr(share).sum(1).exp().mean()

    @property
    def usage(self) -> Tensor:
        """Share of the codes whose running usage is at least 3% of uniform; 0-d float32 in [0, 1]."""
        count = self._codebook.cluster_size
        return (count >= 0.03 * count.mean(1, keepdim=True)).float().mean()
