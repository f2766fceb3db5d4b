"""The codebooks of all stages made ready for the residual kernel, one after the other in the buffers of one.

    stages[q] = (first code, K, first tile, tiles) of stage q        shift[q] = median of at most 64 of its codes

Three launches whatever the number of stages, and no copy from the host: the sizes are constants of the first kernel,
which leaves them on the device. What is prepared, and why: residual_columns.py. Nothing of size N.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from .residual_columns import (
    BLOCK,
    EXTRA,
    GROUP,
    PADDING_BIAS,
    accumulation_bound,
    split,
    store_code_extra,
    store_group_bounds,
)
from .residual_configuration import ResidualConfig
from .rows_on_chip import code_stride

SAMPLE = 64
COLUMNS = tl.constexpr(4)  # of `stages`


class PreparedStages(NamedTuple):
    """What the residual kernel reads: ΣK codes, and tiles that hold codes of one stage alone, padded with zeros."""

    stages: torch.Tensor  # [Q, 4] int32
    codes: torch.Tensor  # [ΣK, code_stride] float32: the codes that exact distances are taken to
    split: torch.Tensor  # [tiles · BLOCK_K, 2, D_pad] bf16: low and high part of -c'
    extra: torch.Tensor  # [tiles · BLOCK_K, 16] bf16: bias and bounds
    bounds: torch.Tensor  # [tiles · BLOCK_K / GROUP, 4] float32: largest ‖c'‖, ρ_c, bias bound in a group
    largest: torch.Tensor  # [Q] float32: largest ‖c'‖ of a stage
    shift: torch.Tensor  # [Q, D] float32
    kappa: float


@triton.jit
def stage(stages_ptr, q):
    """First code, K, first tile and tiles of a stage."""
    at = stages_ptr + q * COLUMNS
    return tl.load(at), tl.load(at + 1), tl.load(at + 2), tl.load(at + 3)


@triton.jit
def _list_stages_kernel(
    codebooks_ptr, stages_ptr, shift_ptr, D,
    SIZES: tl.constexpr, BLOCK_K: tl.constexpr, SAMPLE: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    # codebooks :: [ΣK, D] fp32   stages :: [Q, 4] int32   shift :: [Q, D] fp32
    q = tl.program_id(0)
    first, size, first_tile = 0, 0, 0
    for i in tl.static_range(len(SIZES)):
        first += tl.where(i < q, SIZES[i], 0)
        first_tile += tl.where(i < q, (SIZES[i] + BLOCK_K - 1) // BLOCK_K, 0)
        size += tl.where(i == q, SIZES[i], 0)
    if tl.program_id(1) == 0:
        at = stages_ptr + q * COLUMNS
        tl.store(at, first)
        tl.store(at + 1, size)
        tl.store(at + 2, first_tile)
        tl.store(at + 3, (size + BLOCK_K - 1) // BLOCK_K)

    # The median by ranks: of equals the earlier is the smaller.
    step = (size + SAMPLE - 1) // SAMPLE
    taken = (size + step - 1) // step
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    i = tl.arange(0, SAMPLE)
    inside = (d < D)[:, None] & (i < taken)[None, :]
    codes = codebooks_ptr + tl.cast(first, tl.int64) * D
    own = tl.load(codes + (i * step).to(tl.int64)[None, :] * D + d[:, None], mask=inside, other=float("inf"))
    rank = tl.zeros([BLOCK_D, SAMPLE], tl.int32)
    for j in range(taken):
        other = tl.load(codes + (j * step).to(tl.int64) * D + d, mask=d < D, other=0.0)[:, None]
        rank += ((other < own) | ((other == own) & (j < i)[None, :])).to(tl.int32)
    middle = tl.sum(tl.where(inside & (rank == taken // 2), own, 0.0), 1)
    tl.store(shift_ptr + q * D + d, middle, mask=d < D)


@triton.jit
def _centred_codes(codes_ptr, shift_ptr, k, d, K, D):
    inside = (k < K)[:, None] & (d < D)[None, :]
    code = tl.load(codes_ptr + k[:, None] * D + d[None, :], mask=inside, other=0.0)
    shift = tl.load(shift_ptr + d, mask=d < D, other=0.0)
    return tl.where(inside, code - shift[None, :], 0.0)


@triton.jit
def _prepare_stages_kernel(
    codebooks_ptr, stages_ptr, shift_ptr, split_ptr, extra_ptr, bounds_ptr, D, kappa,
    PADDED_D: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    # codebooks :: [ΣK, D] fp32   the rest: PreparedStages
    first, size, first_tile, tiles = stage(stages_ptr, tl.program_id(1))
    if tl.program_id(0) * BLOCK < tiles * BLOCK_K:
        place = first_tile.to(tl.int64) * BLOCK_K
        _prepare_codes(
            codebooks_ptr + first.to(tl.int64) * D, shift_ptr + tl.program_id(1) * D,
            split_ptr + place * (2 * PADDED_D), extra_ptr + place * EXTRA, bounds_ptr + place // GROUP * 4,
            size, D, kappa, PADDED_D, BLOCK_D,
        )  # fmt: skip


@triton.jit
def _prepare_codes(
    codes_ptr, shift_ptr, split_ptr, extra_ptr, bounds_ptr, K, D, kappa, PADDED_D: tl.constexpr, BLOCK_D: tl.constexpr
):
    """A block of codes of one stage."""
    k = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    square = tl.zeros([BLOCK], tl.float32)
    for start in range(0, PADDED_D, BLOCK_D):
        code = _centred_codes(codes_ptr, shift_ptr, k, start + tl.arange(0, BLOCK_D), K, D)
        square += tl.sum(code * code, 1)
    # A code so far out that its square overflows never wins: zeros for it, and the bias of padding.
    real = (k < K) & (square < 1e36)

    square = tl.zeros([BLOCK], tl.float32)
    residual_square = tl.zeros([BLOCK], tl.float32)
    for start in range(0, PADDED_D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        code = tl.where(real[:, None], _centred_codes(codes_ptr, shift_ptr, k, d, K, D), 0.0)
        high, low, residual = split(-code)
        square += tl.sum(code * code, 1)
        residual_square += tl.sum(residual * residual, 1)
        at = split_ptr + k[:, None] * (2 * PADDED_D) + d[None, :]
        tl.store(at, low)
        tl.store(at + PADDED_D, high)

    norm, residual = tl.sqrt(square), tl.sqrt(residual_square)
    bias = tl.where(real, 0.5 * square, PADDING_BIAS)
    bias_bound = kappa * (0.5 * square)
    store_code_extra(extra_ptr, k, k < K, bias, norm, residual, bias_bound)
    store_group_bounds(bounds_ptr, tl.program_id(0), norm, residual, bias_bound)


@triton.jit
def _largest_norms_kernel(stages_ptr, bounds_ptr, largest_ptr, GROUPS: tl.constexpr, STEP: tl.constexpr):
    # largest :: [Q] fp32: of the groups of a stage, GROUPS a tile
    _, _, first_tile, tiles = stage(stages_ptr, tl.program_id(0))
    largest = tl.zeros([STEP], tl.float32)
    for start in range(0, tiles * GROUPS, STEP):
        group = start + tl.arange(0, STEP)
        at = bounds_ptr + (first_tile * GROUPS + group).to(tl.int64) * 4
        largest = tl.maximum(largest, tl.load(at, mask=group < tiles * GROUPS, other=0.0))
    tl.store(largest_ptr + tl.program_id(0), tl.max(largest, 0))


def prepare_stages(codebooks: torch.Tensor, sizes: list[int], config: ResidualConfig) -> PreparedStages:
    """Split, centre and bound the [ΣK, D] float32 codebooks of stages of these sizes, for rows held in float32."""
    dimension = codebooks.shape[1]
    padded = [-(-size // config.block_k) * config.block_k for size in sizes]
    if max(padded) * config.block_d >= 2**30:  # offsets in the tiles of a stage are 32 bits wide
        raise ValueError(
            f"codebooks: expected fewer than 2^30 elements a stage once padded, got [{max(padded)}, {config.block_d}]"
        )
    stages = torch.empty((len(sizes), COLUMNS.value), dtype=torch.int32, device=codebooks.device)
    shift = codebooks.new_empty((len(sizes), dimension))
    split = codebooks.new_empty((sum(padded), 2, config.block_d), dtype=torch.bfloat16)
    extra = split.new_empty((sum(padded), EXTRA.value))
    bounds = codebooks.new_empty((sum(padded) // GROUP.value, 4))
    stride = code_stride(dimension, config.block_d)
    codes = codebooks if stride == dimension else torch.nn.functional.pad(codebooks, (0, stride - dimension))
    largest = codebooks.new_empty(len(sizes))
    kappa = accumulation_bound(config)
    block_d = 16
    _list_stages_kernel[(len(sizes), triton.cdiv(dimension, block_d))](
        codebooks, stages, shift, dimension,
        SIZES=tuple(sizes), BLOCK_K=config.block_k, SAMPLE=SAMPLE, BLOCK_D=block_d, num_warps=4, enable_fp_fusion=True,
    )  # fmt: skip
    _prepare_stages_kernel[(max(padded) // BLOCK.value, len(sizes))](
        codebooks, stages, shift, split, extra, bounds, dimension, kappa,
        PADDED_D=config.block_d, BLOCK_D=min(config.block_d, 64), BLOCK_K=config.block_k,
        num_warps=8, enable_fp_fusion=True,
    )  # fmt: skip
    _largest_norms_kernel[(len(sizes),)](
        stages, bounds, largest, GROUPS=config.block_k // GROUP.value, STEP=512, num_warps=4, enable_fp_fusion=True
    )
    return PreparedStages(stages, codes, split, extra, bounds, largest, shift, kappa)
