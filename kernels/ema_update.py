"""Exponential moving average of a codebook, in place, in one pass over [K, D].

    n ← decay·n + (1-decay)·count      m ← decay·m + (1-decay)·sum      total = Σ n
    n̂ = (n + eps) / (total + K·eps) · total                            codebook ← m / n̂
    cosine: codebook ← m / ‖m‖, left as it was where m = 0
    with replacements, where n < t = share·total/K + least and one is usable:
    codebook ← replacement      n ← grace·t      m ← grace·t·replacement

The smoothed n̂ never feeds back into n. Counts that are all 0 (an empty batch) leave everything as it was.
All in float32. No [K, D] intermediate is built. Reference: aevae_fast/reference.

Launches: the total, by one program in one order, and the update. Bytes: averages read and written, sums read, codebook
written, 16·K·D; sizes read twice and written, counts read twice, 20·K; replacements read where they are given,
4·K·(D + 1). Under the cosine metric averages and sums are read twice.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def _ema_total_kernel(
    cluster_size_ptr, counts_ptr, total_ptr, steps_ptr, K, decay, rest, HAS_STEPS: tl.constexpr, BLOCK_K: tl.constexpr
):
    # cluster_size, counts :: [K] fp32   steps :: [] int64
    # total :: [] fp32, of the new n; -1 where nothing was counted
    total = tl.zeros([BLOCK_K], tl.float32)
    counted = tl.zeros([BLOCK_K], tl.int32)
    for start in range(0, K, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        count = tl.load(counts_ptr + k, mask=k < K, other=0.0)
        total += decay * tl.load(cluster_size_ptr + k, mask=k < K, other=0.0) + rest * count
        counted |= (count != 0.0).to(tl.int32)
    seen = tl.max(counted, 0)
    tl.store(total_ptr, tl.where(seen > 0, tl.sum(total, 0), -1.0))
    if HAS_STEPS:
        tl.store(steps_ptr, tl.load(steps_ptr) + seen)


@triton.jit
def _ema_update_kernel(
    codebook_ptr, cluster_size_ptr, embed_avg_ptr, counts_ptr, sums_ptr, total_ptr, replacements_ptr,
    K, D, decay, rest, eps, all_eps, share, least, grace,
    NORMALIZE: tl.constexpr, REPLACES: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # codebook, embed_avg, sums :: [K, D] fp32   cluster_size, counts :: [K] fp32   replacements :: [K, D + 1] fp32
    # total :: [] fp32, of the new n; below 0 where nothing was counted   share: of the mean of n, total/K
    k = tl.program_id(0).to(tl.int64) * BLOCK_K + tl.arange(0, BLOCK_K)
    total = tl.load(total_ptr + tl.zeros_like(k))
    live = (k < K) & (total >= 0.0)
    n = decay * tl.load(cluster_size_ptr + k, mask=live, other=0.0)
    n += rest * tl.load(counts_ptr + k, mask=live, other=0.0)
    divisor = (n + eps) / (total + all_eps) * total
    moves = live & (total > 0.0)
    if NORMALIZE:
        # Read only: what is stored below waits on the row's norm, so on every read of the row here.
        square = tl.zeros([BLOCK_K], tl.float32)
        for start in range(0, D, BLOCK_D):
            d = start + tl.arange(0, BLOCK_D)
            m = _moved(embed_avg_ptr, sums_ptr, k, d, D, live, decay, rest)
            square += tl.sum(m * m, 1)
        divisor = tl.sqrt(square)
        moves = moves & (divisor > 0.0)
    if REPLACES:
        together = tl.load(replacements_ptr + k * (D + 1) + D, mask=live, other=0.0)
        threshold = share * (total / K) + least
        dead = live & (n < threshold) & (together > 0.0)
        fresh = grace * threshold
        n = tl.where(dead, fresh, n)
        moves = moves | dead
    tl.store(cluster_size_ptr + k, n, mask=live)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        m = _moved(embed_avg_ptr, sums_ptr, k, d, D, live, decay, rest)
        at = k[:, None] * D + d[None, :]
        inside = (d < D)[None, :]
        code = m / divisor[:, None]
        if REPLACES:
            place = k[:, None] * (D + 1) + d[None, :]
            row = tl.load(replacements_ptr + place, mask=dead[:, None] & inside, other=0.0)
            row = row / tl.maximum(together, 1.0)[:, None]
            m = tl.where(dead[:, None], row * fresh[:, None], m)
            code = tl.where(dead[:, None], row, code)
        tl.store(embed_avg_ptr + at, m, mask=live[:, None] & inside)
        tl.store(codebook_ptr + at, code, mask=moves[:, None] & inside)


@triton.jit
def _moved(embed_avg_ptr, sums_ptr, k, d, D, live, decay, rest):
    at = k[:, None] * D + d[None, :]
    inside = live[:, None] & (d < D)[None, :]
    m = decay * tl.load(embed_avg_ptr + at, mask=inside, other=0.0)
    return m + rest * tl.load(sums_ptr + at, mask=inside, other=0.0)


def ema_update_(
    codebook: torch.Tensor, cluster_size: torch.Tensor, embed_avg: torch.Tensor, counts: torch.Tensor,
    sums: torch.Tensor, decay: float, eps: float, normalize: bool, replacements: torch.Tensor | None = None,
    share: float = 0.0, least: float = 0.0, grace: float = 1.0, steps: torch.Tensor | None = None,
) -> None:  # fmt: skip
    """Update codebook [K, D], cluster_size [K] and embed_avg [K, D], all float32 and contiguous, in place; steps [],
    int64, by 1 where anything was counted. replacements [K, D + 1]: rows, each times how many of them were added up."""
    size, dimension = codebook.shape
    # Ahead of the pass that overwrites cluster_size: no program may read what another writes.
    total = torch.empty((), dtype=torch.float32, device=codebook.device)
    _ema_total_kernel[(1,)](
        cluster_size, counts, total, steps, size, decay, 1 - decay, HAS_STEPS=steps is not None,
        BLOCK_K=min(4096, max(128, triton.next_power_of_2(size))), num_warps=8, enable_fp_fusion=True,
    )  # fmt: skip
    block_d = min(128, max(16, triton.next_power_of_2(dimension)))
    block_k = 1024 // block_d
    _ema_update_kernel[(triton.cdiv(size, block_k),)](
        codebook, cluster_size, embed_avg, counts, sums, total, replacements, size, dimension, decay, 1 - decay, eps,
        size * eps, share, least, grace, NORMALIZE=normalize, REPLACES=replacements is not None, BLOCK_K=block_k,
        BLOCK_D=block_d, num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
