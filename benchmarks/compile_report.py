"""What every kernel configuration costs on GPUs that are not here: compile, read the machine code, count.

    python -m benchmarks.compile_report            writes benchmarks/results/compile_report.json and prints a table
    python -m benchmarks.compile_report --check    recompiles and fails where spills or instructions per pair grew

For sm_80, sm_90, sm_100 and gfx942: registers, spilled bytes, shared memory, tensor-core instructions, widths of
global accesses and, for the search, the instructions of its main loop per (row, code) pair, by opcode (machine_code.py
says how). Arguments carry what the JIT would see: 16-byte aligned pointers, sizes and strides divisible by 16 where
they would be, a stride of 1 as a constant.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import triton

from aevae_fast.kernels import codebook_statistics, ema_update, nearest_code, prepared_codebook, vector_quantize
from aevae_fast.kernels import split_rows as rows_in_parts
from aevae_fast.kernels.configuration import EXTRA, GROUP_STEPS, SearchConfig, search_config

from .machine_code import TARGETS, Case, compile_case

RECORD = Path(__file__).parent / "results" / "compile_report.json"
SHARED_LIMIT = {"sm_80": 99 * 1024, "sm_90": 227 * 1024, "sm_100": 227 * 1024, "gfx942": 64 * 1024}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
DIMENSIONS = (8, 16, 32, 64, 100, 128, 256, 512, 768)


def _size(dimension: int) -> str:
    return "i32:16" if dimension % 16 == 0 else "i32"


def _strides(letters: str, dimension: int, layout: str = "rows") -> dict[str, Any]:
    inner, channel = (_size(dimension), 1) if layout == "rows" else (1, "i32:16")
    return {f"stride_{a}{b}": t for a in letters for b, t in (("b", "i32:16"), ("s", inner), ("d", channel))}


def search_case(
    kernel: str, dimension: int, dtype: str, layout: str, arch: str, metric: str = "euclidean",
    config: SearchConfig | None = None,
) -> Case:  # fmt: skip
    """nearest_code or vector_quantize at one D, dtype and layout of x, as it would be launched on arch."""
    fused = kernel == "vector_quantize"
    config = config or search_config(dimension, DTYPES[dtype], arch, fused)
    x, f32, bf16 = f"*{dtype}", "*fp32", "*bf16"
    arguments: dict[str, Any] = {
        "x_ptr": x, "parts_ptr": bf16, "split_ptr": bf16, "extra_ptr": bf16, "bounds_ptr": f32, "largest_ptr": f32,
        "codes_ptr": f32, "shift_ptr": f32, "indices_ptr": "*i64", "N": "i32:16", "S": "i32:16", "K": "i32",
        "D": _size(dimension), "tiles": "i32", **_strides("x", dimension, layout),
        "kappa": "fp32", "METRIC": metric, "ONE_PART": dtype == "bf16",
        "SHIFT_ROWS": prepared_codebook.shifts_rows(DTYPES[dtype], metric), "PADDED_D": config.padded_d,
        "BLOCK_N": config.block_n, "BLOCK_K": config.block_k, "BLOCK_D": config.block_d, "GROUP_STEPS": GROUP_STEPS,
        "EXTRA": EXTRA,
    }  # fmt: skip
    fn = nearest_code._nearest_code_kernel
    if fused:
        fn = vector_quantize._vector_quantize_kernel
        arguments |= {"codebook_ptr": f32, "mask_ptr": "*i8", "quantized_ptr": x, "error_ptr": f32, "HAS_MASK": True}
        arguments |= _strides("q", dimension, layout)
    name = f"{kernel} D={dimension} {dtype} {layout}" + (f" {metric}" if metric != "euclidean" else "")
    blocks = config.padded_d // config.block_d
    depth = 0 if blocks == 1 else config.padded_d * (2 if dtype == "bf16" else 3)
    return Case(name, fn, arguments, config.num_warps, config.num_stages, config.block_n * config.block_k, depth)


def row_cases(dtype: str, dimension: int, layout: str, arch: str) -> Iterator[Case]:
    """The kernels that read rows, beside the search: parts, backward, statistics."""
    x, f32, size, tail = f"*{dtype}", "*fp32", _size(dimension), f"D={dimension} {dtype} {layout}"
    rows = {"N": "i32:16", "S": "i32:16", "D": size}
    block = min(128, max(16, triton.next_power_of_2(dimension)))
    config = search_config(dimension, DTYPES[dtype], arch, False)
    if config.block_d < config.padded_d:
        yield Case(f"split_rows {tail}", rows_in_parts._split_rows_kernel, {
            "x_ptr": x, "shift_ptr": f32, "parts_ptr": "*bf16", **rows, **_strides("x", dimension, layout),
            "ONE_PART": dtype == "bf16", "SHIFT_ROWS": dtype != "bf16", "PADDED_D": config.padded_d, "BLOCK_N": 32,
            "BLOCK_D": 64,
        }, 4, 2)  # fmt: skip
    yield Case(f"vector_quantize_bwd {tail}", vector_quantize._vector_quantize_bwd_kernel, {
        "grad_ptr": x, "x_ptr": x, "codebook_ptr": f32, "indices_ptr": "*i64", "mask_ptr": "*i8", "scale_ptr": f32,
        "grad_x_ptr": x, **rows, **_strides("gxo", dimension, layout), "HAS_MASK": True, "BLOCK_N": 32,
        "BLOCK_D": block,
    }, 4, 2)  # fmt: skip
    yield Case(f"chunk_sums {tail}", codebook_statistics._chunk_sums_kernel, {
        "x_ptr": x, "center_ptr": f32, "order_ptr": "*i64", "sorted_ptr": "*i32", "starts_ptr": "*i64",
        "sums_ptr": f32, "partial_ptr": f32, **rows, **_strides("x", dimension, layout), "HAS_CENTER": True,
        "CHUNK": codebook_statistics.CHUNK, "BLOCK_D": min(64, block),
    }, 4, 2)  # fmt: skip


def code_cases(dimension: int, arch: str) -> Iterator[Case]:
    """The kernels that read codes alone: prepare, combine statistics, EMA."""
    f32, size = "*fp32", _size(dimension)
    block = min(128, max(16, triton.next_power_of_2(dimension)))
    for dtype in ("fp32", "bf16"):
        config = search_config(dimension, DTYPES[dtype], arch, False)
        yield Case(f"prepare_codebook D={dimension} {dtype}", prepared_codebook._prepare_codebook_kernel, {
            "codebook_ptr": f32, "shift_ptr": f32, "codes_ptr": f32, "split_ptr": "*bf16", "extra_ptr": "*bf16",
            "bounds_ptr": f32, "K": "i32", "D": size, "kappa": "fp32", "METRIC": "euclidean",
            "SHIFT_ROWS": dtype != "bf16", "PADDED_D": config.padded_d, "BLOCK_D": min(config.block_d, 64),
            "EXTRA": EXTRA, "GROUP_STEPS": GROUP_STEPS,
        }, 4, 2)  # fmt: skip
    yield Case(f"span_sums D={dimension}", codebook_statistics._span_sums_kernel, {
        "partial_ptr": f32, "span_ptr": f32, "D": size, "SPAN": codebook_statistics.SPAN, "BLOCK_D": min(64, block),
    }, 4, 2)  # fmt: skip
    yield Case(f"combine_sums D={dimension}", codebook_statistics._combine_sums_kernel, {
        "starts_ptr": "*i64", "partial_ptr": f32, "span_ptr": f32, "counts_ptr": f32, "sums_ptr": f32, "D": size,
        "CHUNK": codebook_statistics.CHUNK, "SPAN": codebook_statistics.SPAN, "BLOCK_D": min(64, block),
    }, 2, 2)  # fmt: skip
    for normalize in (False, True):
        yield Case(f"ema_update D={dimension}{' cosine' if normalize else ''}", ema_update._ema_update_kernel, {
            "codebook_ptr": f32, "cluster_size_ptr": f32, "embed_avg_ptr": f32, "counts_ptr": f32, "sums_ptr": f32,
            "total_ptr": f32, "K": "i32:16", "D": size, "decay": "fp32", "rest": "fp32", "eps": "fp32",
            "all_eps": "fp32", "NORMALIZE": normalize, "BLOCK_K": 1024 // block, "BLOCK_D": block,
        }, 4, 2)  # fmt: skip


def cases(arch: str, brief: bool = False, every: bool = False) -> Iterator[Case]:
    """Configurations of one target; `brief`: one of each kernel; `every`: each D with each dtype, layout and metric."""
    if brief:
        yield search_case("nearest_code", 64, "fp32", "rows", arch)
        yield search_case("vector_quantize", 256, "bf16", "rows", arch)
        yield from row_cases("fp32", 64, "rows", arch)
        yield from code_cases(64, arch)
        return
    if every:
        for dimension, dtype in itertools.product(DIMENSIONS, DTYPES):
            for layout, metric in itertools.product(("rows", "channels"), ("euclidean", "cosine", "dot")):
                for kernel in ("nearest_code", "vector_quantize"):
                    yield search_case(kernel, dimension, dtype, layout, arch, metric)
            for layout in ("rows", "channels"):
                yield from row_cases(dtype, dimension, layout, arch)
        for dimension in DIMENSIONS:
            yield from code_cases(dimension, arch)
        return
    full = arch == "sm_90"
    for dimension, dtype in itertools.product(DIMENSIONS if full else (16, 64, 100, 256, 768), ("fp32", "bf16")):
        yield search_case("vector_quantize", dimension, dtype, "rows", arch)
        if full or dimension in (64, 256):
            yield search_case("nearest_code", dimension, dtype, "rows", arch)
    for dimension in (64, 256) if full else (64,):
        yield search_case("vector_quantize", dimension, "fp16", "rows", arch)
        yield search_case("vector_quantize", dimension, "fp32", "channels", arch)
        for dtype in ("fp32", "bf16") if full else ("fp32",):
            yield from row_cases(dtype, dimension, "rows", arch)
        yield from code_cases(dimension, arch)
    for metric in ("cosine", "dot") if full else ():
        yield search_case("vector_quantize", 64, "fp32", "rows", arch, metric)


def measure(arch: str, brief: bool = False, only: str = "", every: bool = False) -> dict[str, dict[str, Any]]:
    """All measurements of one target, by case name."""
    return {case.name: compile_case(case, arch) for case in cases(arch, brief, every) if only in case.name}


def worse(measured: dict[str, Any], recorded: dict[str, Any]) -> list[str]:
    """What grew beyond a recorded case: spills, or instructions per pair."""
    keys = ("spilled", "per_pair")
    return [f"{k}: {recorded[k]} -> {measured[k]}" for k in keys if k in recorded and measured[k] > recorded[k]]


def print_table(arch: str, report: dict[str, dict[str, Any]]) -> None:
    """One line a case."""
    print(f"\n{arch}\n{'':48}{'regs':>6}{'spill':>6}{'shared':>8}{'mma':>5}{'per pair':>10}  global accesses")
    for name, row in report.items():
        wide = " ".join(f"{op}×{n}" for op, n in row["global_access"].items() if re.search("128|x4", op))
        pair = f"{row['per_pair']:.2f}" if "per_pair" in row else ""
        cells = f"{row['registers']:6}{row['spilled']:6}{row['shared']:8}{row['tensor_core']:5}{pair:>10}"
        print(f"{name:48}{cells}  {wide}", flush=True)


def main() -> int:
    """Write the record, or check against it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="compare with the committed record; exit 1 where it grew")
    parser.add_argument("--arch", choices=TARGETS, action="append", help="only these targets")
    parser.add_argument("--only", default="", help="only cases whose name holds this; prints, writes nothing")
    parser.add_argument("--every", action="store_true", help="each D with each dtype, layout and metric: 1400 cases")
    chosen = parser.parse_args()
    os.environ.pop("TRITON_INTERPRET", None)
    report = {}
    for arch in chosen.arch or TARGETS:
        report[arch] = measure(arch, only=chosen.only, every=chosen.every)
        print_table(arch, report[arch])
    if chosen.check:
        recorded = json.loads(RECORD.read_text())["targets"]
        grown = [
            f"{arch} {name}: {change}"
            for arch, rows in report.items()
            for name, row in rows.items()
            for change in worse(row, recorded[arch].get(name, {}))
        ]
        print("\n".join(grown) or "nothing grew")
        return 1 if grown else 0
    if not (chosen.only or chosen.arch or chosen.every):
        RECORD.parent.mkdir(exist_ok=True)
        RECORD.write_text(json.dumps({"triton": triton.__version__, "targets": report}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
