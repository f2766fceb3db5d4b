"""How alive each stage of a quantizer is, and what each leaves to the next: pure functions of counts and of sums."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class StageHealth:
    """One stage of a quantizer, or one head.

    Attributes:
        codebook_size: number of codes K.
        perplexity: `exp(-Σ p log p)` of how often codes are chosen, in [1, K].
        usage: share of the codes that are alive, in [0, 1].
        dead_codes: number of the others.
        residual_energy: what is left after this stage, as a share of the energy that went into the first: 0 is a
            perfect likeness. NaN where it was not measured.
    """

    codebook_size: int
    perplexity: float
    usage: float
    dead_codes: int
    residual_energy: float = float("nan")


@torch.no_grad()
def stage_health(
    counts: Sequence[Tensor], residual_energy: Tensor | None = None, alive_from: float = 0.0
) -> list[StageHealth]:
    """The health of each stage; waits for the device once, for all of them.

    Args:
        counts: of each stage, how often each of its codes was chosen, `[K]`: numbers, or running averages of them.
        residual_energy: of each stage, `[Q]`, as `residual_energies` gives it.
        alive_from: a code is alive where its count is above 0 and at least this share of the mean count.

    Raises:
        ValueError: a count that is not `[K]`, or another number of energies than of stages.
    """
    for count in counts:
        if count.ndim != 1 or not len(count):
            raise ValueError(f"counts: expected [K] of each stage, got {list(count.shape)}")
    if residual_energy is not None and residual_energy.shape != (len(counts),):
        raise ValueError(f"residual_energy: expected [{len(counts)}], one a stage, got {list(residual_energy.shape)}")
    if not counts:
        return []
    columns = [*zip(*(_perplexity_and_alive(count, alive_from) for count in counts), strict=True)]
    table = torch.stack([torch.stack(column) for column in columns])
    energy = table.new_full((1, len(counts)), torch.nan) if residual_energy is None else residual_energy[None]
    rows = torch.cat([table, energy.to(table)]).T.tolist()
    return [
        StageHealth(len(count), perplexity, alive / len(count), len(count) - round(alive), left)
        for count, (perplexity, alive, left) in zip(counts, rows, strict=True)
    ]


@torch.no_grad()
def residual_energies(x: Tensor, partial_sums: Sequence[Tensor], kept: Tensor | None = None) -> Tensor:
    """Σ‖x - y_q‖² / Σ‖x‖² for each y_q, what the first q stages give together; `[Q]` float32, on the device of x.

    Args:
        x: the vectors that went in, any shape.
        partial_sums: y_1 to y_Q, each of the shape of x.
        kept: bool, broadcast against x; False where a vector does not count. None: all count.

    NaN where nothing counts or all that counts is 0.

    Raises:
        ValueError: a sum of another shape than x.
    """
    for number, partial_sum in enumerate(partial_sums):
        if partial_sum.shape != x.shape:
            raise ValueError(
                f"partial_sums[{number}]: expected the shape of x, {tuple(x.shape)}, got {tuple(partial_sum.shape)}"
            )
    kept = x.new_ones((), dtype=torch.bool) if kept is None else kept
    x = x.float().where(kept, 0.0)
    left = [(x - partial_sum.float().where(kept, 0.0)).square().sum() for partial_sum in partial_sums]
    return torch.stack(left) / x.square().sum()


def _perplexity_and_alive(count: Tensor, alive_from: float) -> tuple[Tensor, Tensor]:
    """0-d float64 each; no code chosen has the perplexity 1."""
    count = count.double()
    share = count / count.sum().where(count.any(), 1.0)
    alive = (count > 0) & (count >= alive_from * count.mean())
    return torch.special.entr(share).sum().exp(), alive.sum().double()
