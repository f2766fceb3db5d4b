"""Vectors of a batch that may replace dead codes: for each code one row, spread over the batch of all ranks."""

import torch
from torch import Tensor


def places(size: int, x: Tensor, steps: Tensor, world: int, spread: int, shift: int = 0) -> tuple[Tensor, ...]:
    """For code k the row at fraction u_k + shift/2³¹ (modulo 1) of the joined batch of `world` ranks, u a Weyl
    sequence, multiples of spread/2³¹, that goes on with each of `steps`.

    x [B, S, D] → its place along B and along S, and the rank that has it; each [size], int64."""
    number = steps * size + torch.arange(size, device=x.device)
    place = ((number % 2**31 * spread + shift) % 2**31) * world  # (u + shift)·world, unit 2⁻³¹
    local = (place % 2**31) * (x.shape[0] * x.shape[1]) >> 31
    return local // x.shape[1], local % x.shape[1], place >> 31


def write_candidates_(candidates: Tensor, row: Tensor, usable: Tensor, heads: int) -> None:
    """row [K, D] float32 → candidates [heads·K, D / heads + 1], head after head: where usable [K] and finite, with a 1;
    else zeros."""
    usable = (usable & row.isfinite().all(-1)).repeat(heads)
    row = row.unflatten(1, (heads, -1)).transpose(0, 1).flatten(0, 1)
    candidates.copy_(torch.cat([row, torch.ones_like(row[:, :1])], 1).where(usable[:, None], 0.0))


def note_candidates_(
    candidates: Tensor, x: Tensor, keep: Tensor | None, steps: Tensor, heads: int, world: int, rank: int, spread: int
) -> None:
    """Write candidates [heads·K, D / heads + 1] float32 from rows x [B, S, D], which are not none; keep [B, S] bool,
    True for rows that may be taken."""
    outer, inner, where = places(len(candidates) // heads, x, steps, world, spread)
    usable = where == rank if keep is None else (where == rank) & keep[outer, inner]
    write_candidates_(candidates, x[outer, inner].float(), usable, heads)
