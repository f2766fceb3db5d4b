"""What the stages of a residual quantizer do in a forward: all in one operation."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import functional
from .beam_search import search_beams
from .codebook import Codebook
from .given_codes import quantize_given
from .kmeans import drawn_aside
from .residual_candidates import note_residuals
from .updates import move
from .vector_quantize import VectorQuantize

Result = tuple[Tensor, Tensor, Tensor]


class Call(NamedTuple):
    """How the stages are used this time. dim: the axis of x that holds D; mask: x's shape without it, which vectors
    count; active, 0-d int64: how many stages are used, None for all; frozen: no codebook moves."""

    dim: int
    mask: Tensor | None
    active: Tensor | None
    frozen: bool
    detach_residual: bool
    beam_size: int = 1
    temperature: float | None = None  # of sampling; None: the stages' own


def quantize_at_once(stages: Sequence[VectorQuantize], x: Tensor, call: Call) -> Result:
    """Euclidean stages without options of their own. x → quantized like x, indices [..., Q], losses [Q]."""
    first, books = stages[0], [stage._codebook for stage in stages]
    learnable = first._codebook.learnable
    training = first.training and not call.frozen
    if training:  # reentrant checkpointing runs its first forward without grad
        _initialize(stages, x, call)
    moving = training and torch.is_grad_enabled() and not all(book.frozen for book in books)
    by_gradient = moving and (x.requires_grad or learnable)
    codes = [book.codes.detach() if call.frozen or book.frozen else book.codes for book in books]
    options: dict[str, Any] = {
        "commitment_weight": first.commitment_weight,
        "codebook_weight": first.codebook_weight if learnable else 0.0,
        "detach_residual": call.detach_residual,
        "active": call.active,
        "mask": call.mask,
        "dim": call.dim,
        "estimator": "rotation" if first.rotation_trick else "straight_through",
        "statistics": [_leaves(book) for book in books] if by_gradient else None,
    }
    if call.beam_size > 1:
        # Copies, since a codebook may move before this forward's backward has come.
        codes = [code if learnable else code.clone() for code in codes]
        indices = search_beams(x.movedim(call.dim, -1), codes, call.beam_size, call.active)
        indices = indices if call.mask is None else indices.where(call.mask[..., None], -1)
        quantized, losses = quantize_given(x, codes, indices, **options)
    else:
        quantized, indices, losses = functional.residual_vector_quantize(x, codes, **options, impl=first.impl)
    if moving:
        note_residuals(books, functional.as_rows(x, call.dim), codes, indices)
        if not by_gradient:
            found = functional.residual_statistics(x, codes, indices, dim=call.dim, impl=first.impl)
            pairs = zip(books, found, strict=True)
            move([(book, counts.float(), sums.float()) for book, (counts, sums) in pairs if not book.frozen])
    return quantized, indices, losses


def _leaves(book: Codebook) -> tuple[Tensor, Tensor]:
    """Two tensors whose gradients are a stage's statistics: others each time, though stages may share a codebook."""
    counts, sums = book.sinks
    return (counts.detach(), sums.detach()) if book.frozen else (counts.view_as(counts), sums.view_as(sums))


@torch.no_grad()
def _initialize(stages: Sequence[VectorQuantize], x: Tensor, call: Call) -> None:
    """The first codes of each stage that waits for them, from what the stages before it leave over."""
    if not any(stage._codebook.needs_init and not stage._codebook.frozen for stage in stages):
        return
    rows = functional.as_rows(x, call.dim).float()
    keep = rows.new_ones(rows.shape[:2], dtype=torch.bool) if call.mask is None else call.mask.reshape(rows.shape[:2])
    with drawn_aside(x.device):
        for stage in stages:
            book = stage._codebook
            if not book.frozen:
                book.initialize(rows, keep)
            rows = rows - book.codes[functional.nearest_code(rows, book.codes, impl=stage.impl).clamp(min=0)]
