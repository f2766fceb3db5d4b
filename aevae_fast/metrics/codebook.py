"""How much of a codebook is used: counts, entropy, perplexity, dead codes."""

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


def code_counts(indices: Tensor, codebook_size: int) -> Tensor:
    """Count how often each code occurs.

    Args:
        indices: integer tensor of any shape; -1 marks a masked position and is not counted.
        codebook_size: number of codes K.

    Returns:
        int64 `[K]`.

    Raises:
        TypeError: `indices` is not an integer tensor.
        ValueError: an index lies outside `[-1, K)`.
    """
    if indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
        raise TypeError(f"indices: expected an integer tensor, got {indices.dtype}")
    flat = indices.reshape(-1)
    if flat.numel() and not (int(flat.min()) >= -1 and int(flat.max()) < codebook_size):
        got = f"[{int(flat.min())}, {int(flat.max())}]"
        raise ValueError(f"indices: expected values from -1 to {codebook_size - 1} (codebook_size - 1), got {got}")
    return torch.bincount(flat[flat >= 0], minlength=codebook_size)


def entropy_bits(counts: Tensor) -> float:
    """Entropy `-Σ p log2 p` in bits of the code frequencies `counts [K]`; 0 when nothing was counted."""
    counts = counts.double()
    probability = counts / counts.sum().clamp(min=1)
    return float(-torch.special.xlogy(probability, probability).sum().clamp(max=0)) / math.log(2)


def perplexity(counts: Tensor) -> float:
    """Perplexity `exp(-Σ p log p)` of the code frequencies `counts [K]`: between 1 (one code) and K (all alike)."""
    return 2.0 ** entropy_bits(counts)


@dataclass(frozen=True)
class UsageReport:
    """Codebook usage over a data set.

    Attributes:
        counts: how often each code was chosen, int64 `[K]`.
        perplexity: `exp(-Σ p log p)`, the number of codes that would be in use were all used alike.
        entropy_bits: entropy of a code in bits, the floor for a lossless coder that ignores context.
        usage: share of the codes that occur at least once, in [0, 1].
        dead_codes: number of codes that never occur.
    """

    counts: Tensor
    perplexity: float
    entropy_bits: float
    usage: float
    dead_codes: int


class CodebookUsage:
    """Counts codes over many batches; `compute()` sums over all ranks of the default process group.

    Args:
        codebook_size: number of codes K, at least 1.

    Raises:
        ValueError: `codebook_size` is smaller than 1.
    """

    def __init__(self, codebook_size: int) -> None:
        if codebook_size < 1:
            raise ValueError(f"codebook_size: expected at least 1, got {codebook_size}")
        self.codebook_size = codebook_size
        self.counts = torch.zeros(codebook_size, dtype=torch.int64)

    def update(self, indices: Tensor) -> None:
        """Add a batch of `indices` (any shape, -1 for masked positions)."""
        self.counts = self.counts.to(indices.device) + code_counts(indices, self.codebook_size)

    def compute(self) -> UsageReport:
        """The usage of everything counted so far, on every rank."""
        counts = self.counts.clone()
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(counts)
        dead = int((counts == 0).sum())
        bits = entropy_bits(counts)
        return UsageReport(counts, 2.0**bits, bits, 1 - dead / self.codebook_size, dead)
