"""Terms of the loss that spread the codes, and the loss term by term."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import functional
from .assignment import Assignment
from .heads import Part


class LossBreakdown(NamedTuple):
    """The terms of a loss before their weights, 0-d (a commitment for each code where several were asked for)."""

    commitment: Tensor
    codebook_diversity: Tensor
    orthogonal_reg: Tensor
    inplace_optimize: Tensor  # always 0: codebooks have no optimizer of their own here


def orthogonality(codes: Tensor, used: Tensor | None = None, max_codes: int | None = None) -> Tensor:
    """Σ_ij cos(c_i, c_j)²/n² - 1/n, 0 for orthogonal codes, mean over codebooks; Shin et al. 2021 (arXiv:2112.00384),
    equation 2. By the [D, D] matrix Σ ĉĉᵀ, whose squared entries have the same sum: no [K, K].

    Args:
        codes: `[H, K, D]`. used: `[H, K]` bool: count these alone.
        max_codes: count at most so many of each codebook, drawn anew from torch's generator.
    """
    heads, size, _ = codes.shape
    counted = codes.new_ones(heads, size) if used is None else used.to(codes.dtype)
    if max_codes is not None and max_codes < size:
        order = torch.rand_like(counted) + counted  # those in use first
        counted = counted * torch.zeros_like(counted).scatter_(1, order.topk(max_codes).indices, 1.0)
    unit = F.normalize(codes, dim=-1)
    together = unit.mT @ (unit * counted[..., None])
    n = counted.sum(1).clamp(min=1)
    return (together.square().sum((1, 2)) / n.square() - 1 / n).mean()


def used_codes(indices: Tensor, size: int) -> Tensor:
    """indices of any shape, -1 for none → which of `size` codes occur, [size] bool."""
    return torch.zeros(size + 1, device=indices.device).index_fill_(0, indices.flatten() + 1, 1.0)[1:] > 0


def diversity_loss(part: Part, codes: Tensor, temperature: float, how: Assignment) -> Tensor:
    """-H(E[p]) in nats, p the softmax of temperature·similarity of each vector that counts; at least -log K."""
    share = functional.mean_assignment(
        part.x,
        codes,
        part.mask,
        metric=how.similarity,
        temperature=1 / temperature,
        dim=part.axis,
        sync=how.sync,
        impl=how.plain,
    )
    # Not xlogy: at 0 its gradient is infinite, and a code of no probability has no use for one.
    return (share * share.clamp(min=torch.finfo(share.dtype).tiny).log()).sum()


class Regularizers(NamedTuple):
    """Which terms count, and how much; see `VectorQuantize`."""

    orthogonal_reg_weight: float
    orthogonal_reg_active_codes_only: bool
    orthogonal_reg_max_codes: int | None
    codebook_diversity_loss_weight: float
    codebook_diversity_temperature: float

    @property
    def active(self) -> bool:
        return self.orthogonal_reg_weight > 0 or self.codebook_diversity_loss_weight > 0

    def terms(
        self,
        parts: Sequence[Part],
        codes: Sequence[Tensor],
        stored: Tensor,
        indices: Sequence[Tensor],
        how: Assignment,
    ) -> tuple[Tensor, Tensor]:
        """Diversity of the codes that the parts meet, orthogonality of those stored [H, K, D]; 0 without weight."""
        diversity = orthogonal = codes[0].new_zeros(())
        if self.codebook_diversity_loss_weight > 0:
            temperature = self.codebook_diversity_temperature
            each = [diversity_loss(part, book, temperature, how) for part, book in zip(parts, codes, strict=True)]
            diversity = torch.stack(each).mean()
        if self.orthogonal_reg_weight > 0:
            used = None
            if self.orthogonal_reg_active_codes_only:
                used = torch.stack([used_codes(chosen, stored.shape[1]) for chosen in indices])
            orthogonal = orthogonality(stored, used, self.orthogonal_reg_max_codes)
        return diversity, orthogonal

    def weigh(self, diversity: Tensor, orthogonal: Tensor) -> Tensor:
        return self.codebook_diversity_loss_weight * diversity + self.orthogonal_reg_weight * orthogonal

    def shown(self) -> list[str]:
        return [
            f"{name}={getattr(self, name)}" for name in self._fields if "weight" in name and getattr(self, name) > 0
        ]


def broken_down(own: Tensor, weight: float, terms: tuple[Tensor, Tensor] | None) -> LossBreakdown:
    """own: the commitment times its weight; terms: diversity and orthogonality, None where neither counts."""
    zero = own.new_zeros(())
    return LossBreakdown(own / (weight or 1.0), *(terms or (zero, zero)), zero)
