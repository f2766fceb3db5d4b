"""Exponential moving average of a codebook, in place, in one pass over [K, D].

    n ← decay·n + (1-decay)·count      m ← decay·m + (1-decay)·sum      total = Σ n
    n̂ = (n + eps) / (total + K·eps) · total                            codebook ← m / n̂
    cosine: codebook ← m / ‖m‖, left as it was where m = 0

The smoothed n̂ never feeds back into n. Counts that are all 0 (an empty batch) leave everything as it was.
All in float32. No [K, D] intermediate is built. Reference: aevae_fast/reference.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def _ema_update_kernel(
    codebook_ptr, cluster_size_ptr, embed_avg_ptr, counts_ptr, sums_ptr, total_ptr,
    K, D, decay, rest, eps, all_eps,
    NORMALIZE: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # codebook, embed_avg, sums :: [K, D] fp32   cluster_size, counts :: [K] fp32
    # total :: [] fp32, of the new n; below 0 where nothing was counted
    k = tl.program_id(0).to(tl.int64) * BLOCK_K + tl.arange(0, BLOCK_K)
    total = tl.load(total_ptr + tl.zeros_like(k))
    live = (k < K) & (total >= 0.0)
    n = decay * tl.load(cluster_size_ptr + k, mask=live, other=0.0)
    n += rest * tl.load(counts_ptr + k, mask=live, other=0.0)
    tl.store(cluster_size_ptr + k, n, mask=live)
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
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        m = _moved(embed_avg_ptr, sums_ptr, k, d, D, live, decay, rest)
        at = k[:, None] * D + d[None, :]
        tl.store(embed_avg_ptr + at, m, mask=live[:, None] & (d < D)[None, :])
        tl.store(codebook_ptr + at, m / divisor[:, None], mask=moves[:, None] & (d < D)[None, :])


@triton.jit
def _moved(embed_avg_ptr, sums_ptr, k, d, D, live, decay, rest):
    at = k[:, None] * D + d[None, :]
    inside = live[:, None] & (d < D)[None, :]
    m = decay * tl.load(embed_avg_ptr + at, mask=inside, other=0.0)
    return m + rest * tl.load(sums_ptr + at, mask=inside, other=0.0)


def ema_update_(
    codebook: torch.Tensor, cluster_size: torch.Tensor, embed_avg: torch.Tensor, counts: torch.Tensor,
    sums: torch.Tensor, decay: float, eps: float, normalize: bool,
) -> None:  # fmt: skip
    """Update codebook [K, D], cluster_size [K] and embed_avg [K, D], all float32 and contiguous, in place."""
    size, dimension = codebook.shape
    # Ahead of the pass that overwrites cluster_size: no program may read what another writes.
    total = torch.where(counts.any(), torch.lerp(counts, cluster_size, decay).sum(), -1.0)
    block_d = min(128, max(16, triton.next_power_of_2(dimension)))
    block_k = 1024 // block_d
    _ema_update_kernel[(triton.cdiv(size, block_k),)](
        codebook, cluster_size, embed_avg, counts, sums, total, size, dimension, decay, 1 - decay, eps, size * eps,
        NORMALIZE=normalize, BLOCK_K=block_k, BLOCK_D=block_d, num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
