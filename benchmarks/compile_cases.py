"""The configurations of each kernel, with the arguments that the JIT would see.

Pointers are 16-byte aligned; sizes and strides divisible by 16 where they would be ("i32:16"); a size or stride of 1 is
a constant. `metric` names a case; the machine code of cosine and dot is one, as the codes are normalized beforehand.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import triton

from aevae_fast.kernels import (
    candidates,
    code_columns,
    codebook_statistics,
    ema_update,
    rotate_to,
    vector_quantize,
)
from aevae_fast.kernels import split_rows as rows_in_parts
from aevae_fast.kernels.configuration import search_config

from .compile_types import size_type, stride_types
from .machine_code import Case

DTYPES = ("fp32", "fp16", "bf16")
DIMENSIONS = (1, 3, 8, 16, 17, 32, 50, 64, 100, 128, 256, 512, 768, 1024)
LAYOUTS = ("rows", "channels")
METRICS = ("euclidean", "cosine", "dot")


def row_cases(dtype: str, dimension: int, layout: str, arch: str, every: bool = False) -> Iterator[Case]:
    """The kernels that read rows, beside the search: parts, gradients, statistics; `every`: those that do less too."""
    x, f32, size, tail = f"*{dtype}", "*fp32", size_type(dimension), f"D={dimension} {dtype} {layout}"
    rows = {"N": "i32:16", "S": "i32:16", "D": size}
    block = min(128, max(16, triton.next_power_of_2(dimension)))
    config = search_config(dimension, arch)
    for metric in METRICS if config.streamed else ():
        if every or metric == "euclidean":
            yield Case(f"split_rows {tail}" + (f" {metric}" if metric != "euclidean" else ""),
                rows_in_parts._split_rows_kernel, {
                "x_ptr": x, "shift_ptr": f32, "extremes_ptr": f32, "parts_ptr": "*fp16", "bounds_ptr": f32, **rows,
                **stride_types("x", dimension, layout), "programs": "i32", "kappa": "fp32", "METRIC": metric,
                "COLUMNS": config.columns, "BLOCK_N": rows_in_parts.BLOCK_N, "BLOCK_D": rows_in_parts.BLOCK_D,
            }, 4)  # fmt: skip
    for masked in (True, False) if every else (True,):
        yield Case(f"vector_quantize_bwd {tail}" + ("" if masked else " unmasked"),
            vector_quantize._vector_quantize_bwd_kernel, {
            "grad_ptr": x, "x_ptr": x, "codebook_ptr": f32, "indices_ptr": "*i64", "mask_ptr": "*i8",
            "scale_ptr": f32, "grad_x_ptr": x, **rows, **stride_types("gxo", dimension, layout), "HAS_MASK": masked,
            "BLOCK_N": 32, "BLOCK_D": block,
        }, 4)  # fmt: skip
    block_n, block_d, warps = rotate_to.blocks(dimension)
    yield Case(f"rotate_to_bwd {tail}", rotate_to._rotate_to_bwd_kernel, {
        "grad_ptr": x, "source_ptr": x, "target_ptr": x, "out_ptr": x, **rows,
        **stride_types("geqo", dimension, layout), "BLOCK_N": block_n, "BLOCK_D": block_d,
    }, warps)  # fmt: skip
    for masked in (True, False) if every else (True,):
        yield Case(f"note_candidates {tail}" + ("" if masked else " unmasked"), candidates._note_candidates_kernel, {
            "x_ptr": x, "keep_ptr": "*i8" if masked else None, "steps_ptr": "*i64", "candidates_ptr": f32, **rows,
            "K": "i32:16", "width": size, "world": 1, "rank": "i32:16", "spread": "i32",
            **stride_types("x", dimension, layout), "HAS_KEEP": masked, "BLOCK_K": 1024 // block, "BLOCK_D": block,
        }, 4)  # fmt: skip
    for center in (True, False) if every else (True,):
        yield Case(f"chunk_sums {tail}" + ("" if center else " uncentred"), codebook_statistics._chunk_sums_kernel, {
            "x_ptr": x, "center_ptr": f32, "order_ptr": "*i64", "sorted_ptr": "*i16", "starts_ptr": "*i64",
            "sums_ptr": f32, "partial_ptr": f32, **rows, **stride_types("x", dimension, layout), "HAS_CENTER": center,
            "CHUNK": codebook_statistics.CHUNK, "BLOCK_D": min(64, block),
        }, 8 if block >= 64 else 4)  # fmt: skip


def code_cases(dimension: int, arch: str, metrics: tuple[str, ...] = METRICS[:1]) -> Iterator[Case]:
    """The kernels that read codes alone: prepare, combine statistics, EMA."""
    f32, size = "*fp32", size_type(dimension)
    block = min(128, max(16, triton.next_power_of_2(dimension)))
    config = search_config(dimension, arch)
    for metric in metrics:
        tail = f"D={dimension}" + (f" {metric}" if metric != "euclidean" else "")
        yield Case(f"code_columns {tail}", code_columns._code_columns_kernel, {
            "codebook_ptr": f32, "codes_ptr": f32, "main_ptr": "*fp16", "extra_ptr": "*fp16", "bounds_ptr": f32,
            "low_ptr": "*fp16", "low_extra_ptr": "*fp16", "low_bounds_ptr": f32, "AGAIN": bool(config.again),
            "extremes_ptr": f32, "shift_ptr": f32, "open_ptr": "*i32", "K": "i32", "D": size, "kappa": "fp32",
            "METRIC": metric,
            "PARTS": config.parts, "SEGMENT": config.segment, "COLUMNS": config.columns,
            "BLOCK_D": min(config.segment, 32), "INLINE": config.inline, "LANES": config.lanes,
            "BLOCK": 8 * config.group_steps,
        }, 8)  # fmt: skip
    for key in ("i16", "i32"):
        yield Case(f"code_starts {key}", codebook_statistics._code_starts_kernel, {
            "sorted_ptr": f"*{key}", "starts_ptr": "*i64", "N": "i32:16", "K": "i32:16", "steps": "i32",
            "width": "i32:16", "LANES": codebook_statistics.LANES, "BLOCK_K": 64,
        }, 4)  # fmt: skip
    yield Case(f"span_sums D={dimension}", codebook_statistics._span_sums_kernel, {
        "partial_ptr": f32, "span_ptr": f32, "D": size, "SPAN": codebook_statistics.SPAN, "BLOCK_D": min(64, block),
    }, 4)  # fmt: skip
    yield Case(f"combine_sums D={dimension}", codebook_statistics._combine_sums_kernel, {
        "starts_ptr": "*i64", "partial_ptr": f32, "span_ptr": f32, "counts_ptr": f32, "sums_ptr": f32, "D": size,
        "HAS_SPANS": True, "CHUNK": codebook_statistics.CHUNK,
        "SPAN": codebook_statistics.SPAN, "BLOCK_D": min(64, block),
    }, 2)  # fmt: skip
    yield Case("ema_total", ema_update._ema_total_kernel, {
        "cluster_size_ptr": f32, "counts_ptr": f32, "total_ptr": f32, "steps_ptr": "*i64", "K": "i32:16",
        "decay": "fp32", "rest": "fp32", "HAS_STEPS": True, "BLOCK_K": 1024,
    }, 8)  # fmt: skip
    for normalize, replaces in itertools.product((False, True), repeat=2):
        tail = f"D={dimension}" + (" cosine" if normalize else "") + (" replacing" if replaces else "")
        yield Case(f"ema_update {tail}", ema_update._ema_update_kernel, {
            "codebook_ptr": f32, "cluster_size_ptr": f32, "embed_avg_ptr": f32, "counts_ptr": f32, "sums_ptr": f32,
            "total_ptr": f32, "replacements_ptr": f32 if replaces else None, "K": "i32:16", "D": size, "decay": "fp32",
            "rest": "fp32", "eps": "fp32", "all_eps": "fp32", "share": "fp32", "least": "fp32", "grace": "fp32",
            "NORMALIZE": normalize, "REPLACES": replaces, "BLOCK_K": 1024 // block, "BLOCK_D": block,
        }, 4)  # fmt: skip
