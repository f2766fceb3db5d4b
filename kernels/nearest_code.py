"""Nearest code of each row: indices[n] = argmin_k dist(x[n], codebook[k]), exact, ties to the lowest index.

x is read in place through its strides; the [N, K] matrix of distances is never built, nor a permuted copy of x.
Input fp16, bf16 or fp32; codebook fp32; products in bf16 parts with fp32 accumulation, certified and rescanned in fp32:
search.py says how. Reference: aevae_fast/reference.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from .configuration import EXTRA, GROUP_STEPS, architecture, search_config
from .prepared_codebook import prepare_codebook, shifts_rows
from .search import search_block
from .split_rows import split_rows


@triton.jit(do_not_specialize=["tiles", "K"])
def _nearest_code_kernel(
    x_ptr, parts_ptr, row_bounds_ptr, split_ptr, extra_ptr, bounds_ptr, largest_ptr, codes_ptr, shift_ptr, indices_ptr,
    N, S, K, D, tiles, stride_xb, stride_xs, stride_xd, kappa,
    EUCLIDEAN: tl.constexpr, ONE_PART: tl.constexpr, SHIFT_ROWS: tl.constexpr, PADDED_D: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr, GROUP_STEPS: tl.constexpr,
    EXTRA: tl.constexpr,
):  # fmt: skip
    # x :: [B, S, D] fp16|bf16|fp32   codes :: [K, D] fp32   indices :: [B, S] int64
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    live = n < N
    index = search_block(
        x_ptr, n, live, parts_ptr, row_bounds_ptr, split_ptr, extra_ptr, bounds_ptr, largest_ptr, codes_ptr, shift_ptr,
        N, S, K, D, tiles, stride_xb, stride_xs, stride_xd, kappa,
        EUCLIDEAN, ONE_PART, SHIFT_ROWS, PADDED_D, BLOCK_D, BLOCK_K, GROUP_STEPS, EXTRA,
    )  # fmt: skip
    tl.store(indices_ptr + n, index.to(tl.int64), mask=live)


def nearest_code(x: torch.Tensor, codebook: torch.Tensor, metric: str = "euclidean") -> torch.Tensor:
    """Indices [B, S] int64 of the nearest code to each row of x [B, S, D]; -1 for rows with a non-finite entry."""
    batch, length, dimension = x.shape
    indices = torch.empty((batch, length), dtype=torch.int64, device=x.device)
    if indices.numel() == 0:
        return indices
    config = search_config(dimension, architecture(x.device))
    prepared = prepare_codebook(codebook, x.dtype, metric, config)
    shifted = shifts_rows(x.dtype, metric)
    parts, row_bounds = split_rows(x, prepared, config, metric)
    _nearest_code_kernel[(triton.cdiv(indices.numel(), config.block_n),)](
        x, parts, row_bounds,
        prepared.split, prepared.extra, prepared.bounds, prepared.largest, prepared.codes, prepared.shift,
        indices, indices.numel(), length, codebook.shape[0], dimension, prepared.split.shape[0] // config.block_k,
        *x.stride(), prepared.kappa,
        EUCLIDEAN=metric == "euclidean", ONE_PART=x.dtype == torch.bfloat16, SHIFT_ROWS=shifted,
        PADDED_D=config.padded_d, BLOCK_N=config.block_n, BLOCK_K=config.block_k, BLOCK_D=config.block_d,
        GROUP_STEPS=GROUP_STEPS, EXTRA=EXTRA, num_warps=config.num_warps, num_stages=config.num_stages,
        enable_fp_fusion=True,
    )  # fmt: skip
    return indices
