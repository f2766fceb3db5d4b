"""Vectors that may replace the dead codes of a residual quantizer's stages: residuals of the stage."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from .codebook import Codebook


@torch.no_grad()
def note_residuals(books: Sequence[Codebook], rows: Tensor, codebooks: Sequence[Tensor], indices: Tensor) -> None:
    """For each codebook note as many vectors as it has codes: rows of the batch, less the codes of earlier stages.

    rows [B, S, D]; codebooks, the codes [K_q, D] at this forward; indices [..., Q], what it chose. Only for the rows
    that are noted the residual is computed, a stage's rows being others than another's. A codebook that several stages
    share notes an equal part from each.
    """
    owners = list(dict.fromkeys(books))
    if all(book.dead_code_threshold == 0 for book in owners):
        return
    if 0 in rows.shape:
        for book in owners:
            book.candidates.zero_()
        return
    places = [book.places(rows, shift=number / len(owners)) for number, book in enumerate(owners)]
    outer, inner, mine = (torch.cat(parts) for parts in zip(*places, strict=True))
    row = rows[outer, inner].float()
    chosen = indices.reshape(*rows.shape[:2], len(books))[outer, inner]
    ends = [len(row) * (stage + 1) // len(books) for stage in range(len(books))]  # of a shared codebook's parts
    if len(owners) == len(books):
        ends = list(itertools.accumulate(len(codes) for codes in codebooks))
    usable, start = [], 0
    for stage, end in enumerate(ends):
        usable.append(chosen[start:end, stage] >= 0)
        row[end:] -= codebooks[stage][chosen[end:, stage].clamp(min=0)]
        start = end
    keep, start = torch.cat(usable) & mine, 0
    for book in owners:
        end = start + len(book.codes)
        book.note(row[start:end], keep[start:end])
        start = end
