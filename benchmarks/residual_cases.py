"""The configurations of the residual kernels, as compile_cases.py has those of the searches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import triton

from aevae_fast.kernels import codebook_statistics, residual_gradient, residual_stages, residual_vector_quantize
from aevae_fast.kernels.residual_columns import GROUP
from aevae_fast.kernels.residual_configuration import ResidualConfig, residual_config
from aevae_fast.kernels.rows_on_chip import code_stride

from .compile_types import size_type, stride_types
from .machine_code import Case

DIMENSIONS = (1, 3, 8, 16, 17, 32, 64, 100, 128)


def residual_case(
    dimension: int, dtype: str, layout: str, arch: str, stages: int = 8, masked: bool = True,
    config: ResidualConfig | None = None,
) -> Case:  # fmt: skip
    """residual_vector_quantize at one D, dtype, layout of x and number of stages, as it would be launched on arch."""
    config = config or residual_config(dimension, arch)
    assert config is not None, "stage by stage"
    x, f32, bf16 = f"*{dtype}", "*fp32", "*bf16"
    arguments: dict[str, Any] = {
        "x_ptr": x, "mask_ptr": "*i8", "active_ptr": "*i64", "stages_ptr": "*i32", "shift_ptr": f32,
        "largest_ptr": f32, "split_ptr": bf16, "extra_ptr": bf16, "bounds_ptr": f32, "codes_ptr": f32,
        "quantized_ptr": x, "indices_ptr": "*i64", "errors_ptr": f32,
        "N": "i32:16", "S": "i32:16", "D": dimension, "STRIDE": code_stride(dimension, config.block_d),
        "Q": size_type(stages), **stride_types("xq", dimension, layout), "kappa": "fp32", "HAS_MASK": masked,
        "HAS_ACTIVE": masked, "PADDED_Q": triton.next_power_of_2(stages), "BLOCK_N": config.block_n,
        "BLOCK_K": config.block_k, "BLOCK_D": config.block_d,
    }  # fmt: skip
    name = f"residual_vector_quantize D={dimension} {dtype} {layout} Q={stages}" + ("" if masked else " unmasked")
    fn = residual_vector_quantize._residual_vector_quantize_kernel
    return Case(name, fn, arguments, config.num_warps, config.num_stages, config.block_n * config.block_k)


def stage_cases(dimension: int, arch: str, sizes: tuple[int, ...] = (1024,) * 8) -> Iterator[Case]:
    """The kernels that make the codebooks ready."""
    config = residual_config(dimension, arch)
    assert config is not None, "stage by stage"
    f32, bf16, size = "*fp32", "*bf16", size_type(dimension)
    yield Case(f"list_stages D={dimension}", residual_stages._list_stages_kernel, {
        "codebooks_ptr": f32, "stages_ptr": "*i32", "shift_ptr": f32, "D": size, "SIZES": sizes,
        "BLOCK_K": config.block_k, "SAMPLE": residual_stages.SAMPLE, "BLOCK_D": 16,
    }, 4)  # fmt: skip
    yield Case(f"prepare_stages D={dimension}", residual_stages._prepare_stages_kernel, {
        "codebooks_ptr": f32, "stages_ptr": "*i32", "shift_ptr": f32, "split_ptr": bf16, "extra_ptr": bf16,
        "bounds_ptr": f32, "D": size, "kappa": "fp32", "PADDED_D": config.block_d,
        "BLOCK_D": min(config.block_d, 64), "BLOCK_K": config.block_k,
    }, 8)  # fmt: skip
    yield Case(f"largest_norms D={dimension}", residual_stages._largest_norms_kernel, {
        "stages_ptr": "*i32", "bounds_ptr": f32, "largest_ptr": f32, "GROUPS": config.block_k // GROUP.value,
        "STEP": 512,
    }, 4)  # fmt: skip


def residual_row_cases(dimension: int, dtype: str, layout: str, sizes: tuple[int, ...] = (1024,) * 8) -> Iterator[Case]:
    """The gradient and the statistics."""
    x, f32, size, tail = f"*{dtype}", "*fp32", size_type(dimension), f"D={dimension} {dtype} {layout}"
    rows = {"N": "i32:16", "S": "i32:16", "D": size}
    block = min(128, max(16, triton.next_power_of_2(dimension)))
    yield Case(f"residual_vector_quantize_bwd {tail}", residual_gradient._residual_vector_quantize_bwd_kernel, {
        "grad_ptr": x, "x_ptr": x, "codebooks_ptr": f32, "indices_ptr": "*i64", "scales_ptr": f32, "grad_x_ptr": x,
        **rows, **stride_types("gxo", dimension, layout), "SIZES": sizes, "BLOCK_N": 32, "BLOCK_D": block,
    }, 4)  # fmt: skip
    yield Case(f"chunk_residuals {tail}", residual_gradient._chunk_residuals_kernel, {
        "x_ptr": x, "codebooks_ptr": f32, "codes_ptr": "*i32", "order_ptr": "*i64", "sorted_ptr": "*i32",
        "starts_ptr": "*i64", "sums_ptr": f32, "partial_ptr": f32, **rows, "Q": size_type(len(sizes)),
        **stride_types("x", dimension, layout), "CENTER": True, "CHUNK": codebook_statistics.CHUNK,
        "BLOCK_D": min(64, block),
    }, 8 if block >= 64 else 4)  # fmt: skip
    yield Case(f"codes_of_all Q={len(sizes)}", residual_gradient._codes_of_all_kernel, {
        "indices_ptr": "*i64", "codes_ptr": "*i32", "total": "i32:16", "SIZES": sizes, "BLOCK": 1024,
    }, 4)  # fmt: skip


def residual_cases(arch: str, every: bool = False) -> Iterator[Case]:
    """The main ones, or each D, dtype and layout, and many stages; without a mask too."""
    for dimension in DIMENSIONS if every else (8, 64, 128):
        if residual_config(dimension, arch) is None:  # 128 on sm_90 before Triton 3.9
            continue
        for dtype in ("fp32", "fp16", "bf16") if every else ("fp32", "bf16"):
            for layout in ("rows", "channels") if every else ("rows",):
                yield residual_case(dimension, dtype, layout, arch)
                if every:
                    yield residual_case(dimension, dtype, layout, arch, stages=32)
                    yield residual_case(dimension, dtype, layout, arch, masked=False)
                if every or (dimension, dtype) == (64, "fp32"):
                    yield from residual_row_cases(dimension, dtype, layout)
        if every or dimension == 64:
            yield from stage_cases(dimension, arch)
