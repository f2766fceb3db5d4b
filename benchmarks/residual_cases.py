"""The configurations of the residual kernels, as compile_cases.py has those of the searches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import triton

from aevae_fast.kernels import residual_vector_quantize
from aevae_fast.kernels.configuration import EXTRA, GROUP_STEPS, SearchConfig, residual_config
from aevae_fast.kernels.rows_on_chip import code_stride

from .compile_cases import _size, _strides
from .machine_code import Case


def residual_case(
    dimension: int, dtype: str, layout: str, arch: str, stages: int = 8, masked: bool = True,
    config: SearchConfig | None = None,
) -> Case:  # fmt: skip
    """residual_vector_quantize at one D, dtype, layout of x and number of stages, as it would be launched on arch."""
    config = config or residual_config(dimension, arch)
    assert config is not None, "stage by stage"
    x, f32, bf16 = f"*{dtype}", "*fp32", "*bf16"
    arguments: dict[str, Any] = {
        "x_ptr": x, "mask_ptr": "*i8", "active_ptr": "*i64", "stages_ptr": "*i32", "shift_ptr": f32,
        "largest_ptr": f32, "split_ptr": bf16, "extra_ptr": bf16, "bounds_ptr": f32, "codes_ptr": f32,
        "quantized_ptr": x, "indices_ptr": "*i64", "errors_ptr": f32,
        "N": "i32:16", "S": "i32:16", "D": dimension,
        "STRIDE": code_stride(dimension, config.block_d), "Q": _size(stages),
        **_strides("xq", dimension, layout), "kappa": "fp32", "HAS_MASK": masked, "HAS_ACTIVE": masked,
        "PADDED_Q": triton.next_power_of_2(stages), "BLOCK_N": config.block_n, "BLOCK_K": config.block_k,
        "BLOCK_D": config.block_d, "GROUP_STEPS": GROUP_STEPS, "EXTRA": EXTRA,
    }  # fmt: skip
    name = f"residual_vector_quantize D={dimension} {dtype} {layout} Q={stages}" + ("" if masked else " unmasked")
    fn = residual_vector_quantize._residual_vector_quantize_kernel
    return Case(name, fn, arguments, config.num_warps, config.num_stages, config.block_n * config.block_k)


def residual_cases(arch: str) -> Iterator[Case]:
    for dimension in (8, 64, 128):
        for dtype in ("fp32", "bf16"):
            yield residual_case(dimension, dtype, "rows", arch)
