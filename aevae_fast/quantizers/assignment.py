"""Vectors meet one codebook: which codes they get, and what comes back."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .. import functional
from ..functional import Impl
from . import estimators
from .affine import AffineCodebook
from .codebook import Codebook
from .heads import Part
from .updates import move


class Assignment(NamedTuple):
    """How codes are chosen and gradients pass, for one call."""

    metric: str
    estimator: str
    commitment_weight: float
    codebook_weight: float
    temperature: float
    sample: bool  # draw the codes instead of taking the nearest
    variance: float  # of DiVeQ's noise
    sync: bool  # what is of the batch as a whole is of all ranks'
    impl: Impl | None

    @property
    def similarity(self) -> str:
        """The metric of soft assignments: the inner product of unit vectors is the cosine."""
        return "dot" if self.metric == "cosine" else self.metric

    @property
    def plain(self) -> Impl | None:
        """`impl` for operations that have no kernel."""
        return "reference" if self.impl == "reference" else None


Result = tuple[Tensor, Tensor, Tensor]


def assign(
    part: Part,
    codes: Tensor,
    leaves: tuple[Tensor, Tensor] | None,
    how: Assignment,
    indices: Tensor | None = None,
) -> Result:
    """→ quantized like part.x, indices, loss 0-d, as `functional.vector_quantize` returns them. indices: given ones."""
    if how.sample and indices is None:
        indices = _draw(part, codes, 1, how)[..., 0]
    quantized, indices, loss = functional.vector_quantize(
        part.x,
        codes,
        metric=how.metric,
        estimator="rotation" if how.estimator == "rotation" else "straight_through",
        commitment_weight=how.commitment_weight,
        codebook_weight=how.codebook_weight,
        mask=part.mask,
        dim=part.axis,
        statistics=leaves,
        indices=indices,
        impl=how.impl,
    )
    if how.estimator == "diveq":
        quantized = estimators.directional(part, codes, quantized, indices, how.variance)
    elif how.estimator in ("ibq", "gumbel"):
        taught = codes if how.estimator == "ibq" else codes.detach()
        quantized = estimators.soft(part, taught, quantized, indices, how.similarity, how.temperature, how.plain)
    return quantized, indices, loss


def assign_many(part: Part, codes: Tensor, k: int, how: Assignment) -> Result:
    """The k codes of each vector.

    Returns:
        quantized: a vector for each code, `[..., k, D]`, or `[B, D, ..., k]` where vectors lie along axis 1.
        indices, losses: `[..., k]`; a loss for each code of each vector, 0 where masked.
    """
    if how.sample:
        indices = _draw(part, codes, k, how)
    else:
        indices = functional.nearest_codes(part.x, codes, k, metric=how.metric, dim=part.axis, impl=how.plain)[0]
    x = part.x.movedim(part.axis, -1).unsqueeze(-2)
    x = x.expand(*indices.shape, x.shape[-1])
    mask = None if part.mask is None else part.mask[..., None].expand(indices.shape)
    quantized, indices, _ = assign(Part(x, mask, -1), codes, None, how, indices)
    code = codes[indices.clamp(min=0)]
    losses = how.commitment_weight * (x - code.detach()).square().mean(-1)
    if how.codebook_weight:
        losses = losses + how.codebook_weight * (x.detach() - code).square().mean(-1)
    return quantized.movedim(-1, part.axis), indices, losses if mask is None else losses.where(mask, 0.0)


def _draw(part: Part, codes: Tensor, k: int, how: Assignment) -> Tensor:
    return functional.sample_codes(part.x, codes, k, metric=how.similarity, temperature=how.temperature, dim=part.axis)


def cross_entropy(parts: Sequence[Part], codes: Sequence[Tensor], targets: Sequence[Tensor], how: Assignment) -> Tensor:
    """Mean of -log softmax(similarity) of the targets, codes of each part's vectors, -1 to skip; nats, 0-d."""
    total = number = codes[0].new_zeros(())
    for part, book, target in zip(parts, codes, targets, strict=True):
        target = target if part.mask is None else target.where(part.mask, -1)
        found = functional.code_cross_entropy(
            part.x, book, target, metric=how.similarity, dim=part.axis, impl=how.plain
        )
        count = (target >= 0).sum()
        total, number = total + found * count, number + count
    return total / number.clamp(min=1)


def move_now(book: Codebook, parts: Sequence[Part], indices: Sequence[Tensor], impl: Impl | None) -> None:
    """Move the codebook by what these vectors chose, where no gradient carries it to the next step."""
    found = [
        functional.codebook_statistics(part.x, chosen, book.size, dim=part.axis, impl=impl)
        for part, chosen in zip(parts, indices, strict=True)
    ]
    if isinstance(book, AffineCodebook):
        book.take(parts, indices)
    counts, sums = (torch.cat(kind).float() for kind in zip(*found, strict=True))
    move([(book, counts, sums)])
