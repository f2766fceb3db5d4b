"""The gradient of the rotation trick, in one pass: each row is read once and stays on the chip.

    grad_source = λ·(g - 2w(wᵀg) + 2ê(q̂ᵀg)),  λ = ‖q‖/‖e‖,  w = (ê + q̂)/‖ê + q̂‖;  g itself where e = 0

with e a row of source, q of target, hats for directions; where ê = -q̂, w is 0. The sum ê + q̂ is taken entry by entry:
its norm from the product êᵀq̂ would cancel. All arithmetic in fp32. Reference: aevae_fast/reference/rotate_to.py.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .rows import row_pointers

TILE = 2048
TINY = tl.constexpr(1.1754943508222875e-38)


@triton.jit
def _rotate_to_bwd_kernel(
    grad_ptr, source_ptr, target_ptr, out_ptr,
    N, S, D, stride_gb, stride_gs, stride_gd, stride_eb, stride_es, stride_ed, stride_qb, stride_qs, stride_qd,
    stride_ob, stride_os, stride_od,
    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # grad, source, target, out :: [B, S, D] fp16|bf16|fp32
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    d = tl.arange(0, BLOCK_D)
    inside = (n < N)[:, None] & (d < D)[None, :]
    column = d.to(tl.int64)[None, :]
    grads = row_pointers(grad_ptr, n, N, S, stride_gb, stride_gs)[:, None] + column * stride_gd
    sources = row_pointers(source_ptr, n, N, S, stride_eb, stride_es)[:, None] + column * stride_ed
    targets = row_pointers(target_ptr, n, N, S, stride_qb, stride_qs)[:, None] + column * stride_qd
    outs = row_pointers(out_ptr, n, N, S, stride_ob, stride_os)[:, None] + column * stride_od
    g = tl.load(grads, mask=inside, other=0.0).to(tl.float32)
    e = tl.load(sources, mask=inside, other=0.0).to(tl.float32)
    q = tl.load(targets, mask=inside, other=0.0).to(tl.float32)
    size, length = tl.sqrt(tl.sum(e * e, 1)), tl.sqrt(tl.sum(q * q, 1))
    absent = size == 0.0
    size = tl.where(absent, 1.0, size)
    ratio = length / size
    e_hat, q_hat = e / size[:, None], q / tl.where(length == 0.0, 1.0, length)[:, None]
    w = e_hat + q_hat
    along_w = 2.0 * tl.sum(w * g, 1) / tl.maximum(tl.sum(w * w, 1), TINY)
    along_q = 2.0 * tl.sum(q_hat * g, 1)
    rotated = ratio[:, None] * (g - w * along_w[:, None] + e_hat * along_q[:, None])
    found = tl.where(absent[:, None], g, rotated)
    tl.store(outs, found.to(out_ptr.dtype.element_ty), mask=inside)


def rotate_to_backward(grad: torch.Tensor, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Gradient of source, like source; all [B, S, D]."""
    batch, length, dimension = source.shape
    out = torch.empty_like(source)
    if out.numel() == 0:
        return out
    block_n, block_d, warps = blocks(dimension)
    _rotate_to_bwd_kernel[(triton.cdiv(batch * length, block_n),)](
        grad, source, target, out, batch * length, length, dimension,
        *grad.stride(), *source.stride(), *target.stride(), *out.stride(),
        BLOCK_N=block_n, BLOCK_D=block_d, num_warps=warps, enable_fp_fusion=True,
    )  # fmt: skip
    return out


def blocks(dimension: int) -> tuple[int, int, int]:
    """Rows and columns of a tile, which holds whole rows, and warps: at most 16 entries of each tensor a thread."""
    block_d = max(16, triton.next_power_of_2(dimension))
    return max(1, TILE // block_d), block_d, min(32, max(4, block_d // 512))
