"""What every kernel configuration costs on GPUs that are not here: compile, read the machine code, count.

    python -m benchmarks.compile_report            writes benchmarks/results/compile_report.json and prints a table
    python -m benchmarks.compile_report --check    recompiles and fails where spills or instructions per pair grew

For sm_80, sm_90, sm_100 and gfx942: registers, spilled bytes, shared memory, tensor-core instructions, widths of
global accesses and, for the search, the instructions of its main loop per (row, code) pair, by opcode. The main loop is
the first innermost loop that holds tensor-core instructions; the rescan of a winning group holds none, and the second
sweep comes after. Arguments carry what the JIT would see: 16-byte aligned pointers, sizes and strides divisible by 16
where they would be, a stride of 1 as a constant. The counts repeat exactly on any machine with the same Triton.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from aevae_fast.kernels import codebook_statistics, ema_update, nearest_code, prepared_codebook, vector_quantize
from aevae_fast.kernels.configuration import EXTRA, GROUP_STEPS, search_config

RECORD = Path(__file__).parent / "results" / "compile_report.json"
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
SHARED_LIMIT = {"sm_80": 99 * 1024, "sm_90": 227 * 1024, "sm_100": 227 * 1024, "gfx942": 64 * 1024}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
TENSOR_CORE = re.compile(r"(HGMMA|HMMA|UTCHMMA|UTCQMMA|v_mfma)")
GLOBAL_ACCESS = re.compile(r"(LDG|LDGSTS|STG|global_load|global_store|buffer_load|buffer_store)")


class Case(NamedTuple):
    """One kernel with one set of argument types and constants."""

    name: str
    kernel: Any
    arguments: dict[str, Any]  # a type ("*fp32", "i32", "i32:16" if divisible by 16) or a constant
    warps: int
    stages: int
    pairs: int = 0  # (row, code) pairs per round of the main loop, 0 where there is none
    rounds: int = 1  # rounds of the innermost loop for them


def search_case(kernel: str, dimension: int, dtype: str, layout: str, arch: str) -> Case:
    """nearest_code or vector_quantize at one D, dtype and layout of x, as it would be launched on arch."""
    config = search_config(dimension, DTYPES[dtype], arch, kernel == "vector_quantize")
    size = "i32:16" if dimension % 16 == 0 else "i32"
    x, f32, bf16 = f"*{dtype}", "*fp32", "*bf16"
    prepared = {
        "high_ptr": bf16,
        "low_ptr": bf16,
        "extra_ptr": bf16,
        "bounds_ptr": f32,
        "codes_ptr": f32,
        "shift_ptr": f32,
    }
    sizes = {"N": "i32:16", "S": "i32:16", "K": "i32", "D": size, "tiles": "i32"}
    by_row = layout == "rows"
    constants = {
        "METRIC": "euclidean", "ONE_PART": dtype == "bf16",
        "SHIFT_ROWS": prepared_codebook.shifts_rows(DTYPES[dtype], "euclidean"), "PADDED_D": config.padded_d,
        "BLOCK_N": config.block_n, "BLOCK_K": config.block_k, "BLOCK_D": config.block_d, "GROUP_STEPS": GROUP_STEPS,
        "EXTRA": EXTRA,
    }  # fmt: skip

    def strides(letter: str) -> dict[str, Any]:
        inner, channel = (size, 1) if by_row else (1, "i32:16")
        return {f"stride_{letter}b": "i32:16", f"stride_{letter}s": inner, f"stride_{letter}d": channel}

    arguments: dict[str, Any]
    if kernel == "nearest_code":
        fn = nearest_code._nearest_code_kernel
        arguments = {
            "x_ptr": x,
            **prepared,
            "indices_ptr": "*i64",
            **sizes,
            **strides("x"),
            "kappa": "fp32",
            **constants,
        }
    else:
        fn = vector_quantize._vector_quantize_kernel
        arguments = {
            "x_ptr": x, "codebook_ptr": f32, "mask_ptr": "*i8", **prepared, "quantized_ptr": x, "indices_ptr": "*i64",
            "error_ptr": f32, **sizes, **strides("x"), **strides("q"), "kappa": "fp32", "HAS_MASK": True, **constants,
        }  # fmt: skip
    name = f"{kernel} D={dimension} {dtype} {layout}"
    rounds = config.padded_d // config.block_d
    return Case(name, fn, arguments, config.num_warps, config.num_stages, config.block_n * config.block_k, rounds)


def simple_cases(dtype: str, dimension: int) -> Iterator[Case]:
    """The kernels beside the search: prepare, backward, statistics, EMA."""
    x, f32, size = f"*{dtype}", "*fp32", "i32:16" if dimension % 16 == 0 else "i32"
    block = min(128, max(16, triton.next_power_of_2(dimension)))
    config = search_config(dimension, DTYPES[dtype], "", False)
    tail = f"D={dimension} {dtype}"

    def strides(letters: str) -> dict[str, Any]:
        return {f"stride_{a}{b}": t for a in letters for b, t in (("b", "i32:16"), ("s", size), ("d", 1))}

    yield Case(f"prepare_codebook {tail}", prepared_codebook._prepare_codebook_kernel, {
        "codebook_ptr": f32, "shift_ptr": f32, "codes_ptr": f32, "high_ptr": "*bf16", "low_ptr": "*bf16",
        "extra_ptr": "*bf16", "bounds_ptr": f32, "K": "i32", "D": size, "kappa": "fp32", "METRIC": "euclidean",
        "SHIFT_ROWS": dtype != "bf16", "PADDED_D": config.padded_d, "BLOCK_D": min(config.block_d, 64),
        "EXTRA": EXTRA, "GROUP_STEPS": GROUP_STEPS,
    }, 4, 2)  # fmt: skip
    yield Case(f"vector_quantize_bwd {tail}", vector_quantize._vector_quantize_bwd_kernel, {
        "grad_ptr": x, "x_ptr": x, "codebook_ptr": f32, "indices_ptr": "*i64", "scale_ptr": f32, "grad_x_ptr": x,
        "N": "i32:16", "S": "i32:16", "D": size, **strides("gxo"), "BLOCK_N": 32, "BLOCK_D": block,
    }, 4, 2)  # fmt: skip
    block = min(64, block)
    yield Case(f"chunk_sums {tail}", codebook_statistics._chunk_sums_kernel, {
        "x_ptr": x, "order_ptr": "*i64", "sorted_ptr": "*i32", "starts_ptr": "*i64", "sums_ptr": f32,
        "partial_ptr": f32, "N": "i32:16", "S": "i32:16", "D": size, **strides("x"),
        "CHUNK": codebook_statistics.CHUNK, "BLOCK_D": block,
    }, 4, 2)  # fmt: skip
    if dtype != "fp32":
        return
    yield Case(f"span_sums {tail}", codebook_statistics._span_sums_kernel, {
        "partial_ptr": f32, "span_ptr": f32, "D": size, "SPAN": codebook_statistics.SPAN, "BLOCK_D": block,
    }, 4, 2)  # fmt: skip
    yield Case(f"combine_sums {tail}", codebook_statistics._combine_sums_kernel, {
        "starts_ptr": "*i64", "partial_ptr": f32, "span_ptr": f32, "counts_ptr": f32, "sums_ptr": f32, "D": size,
        "CHUNK": codebook_statistics.CHUNK, "SPAN": codebook_statistics.SPAN, "BLOCK_D": block,
    }, 2, 2)  # fmt: skip
    block = min(128, max(16, triton.next_power_of_2(dimension)))
    for normalize in (False, True):
        yield Case(f"ema_update {tail}{' cosine' if normalize else ''}", ema_update._ema_update_kernel, {
            "codebook_ptr": f32, "cluster_size_ptr": f32, "embed_avg_ptr": f32, "counts_ptr": f32, "sums_ptr": f32,
            "total_ptr": f32, "K": "i32:16", "D": size, "decay": "fp32", "rest": "fp32", "eps": "fp32",
            "all_eps": "fp32", "NORMALIZE": normalize, "BLOCK_K": 1024 // block, "BLOCK_D": block,
        }, 4, 2)  # fmt: skip


def cases(arch: str, brief: bool = False) -> Iterator[Case]:
    """The configurations of one target: all on sm_90, fewer elsewhere; `brief`: one of each kernel."""
    if brief:
        yield search_case("nearest_code", 64, "fp32", "rows", arch)
        yield search_case("vector_quantize", 64, "bf16", "rows", arch)
        yield from simple_cases("fp32", 64)
        return
    full = arch == "sm_90"
    for dimension in (8, 16, 64, 100, 128, 256) if full else (16, 64, 256):
        for dtype in ("fp32", "bf16"):
            yield search_case("nearest_code", dimension, dtype, "rows", arch)
            if full or dimension == 64:
                yield search_case("vector_quantize", dimension, dtype, "rows", arch)
    yield search_case("vector_quantize", 64, "fp16", "rows", arch)
    yield search_case("vector_quantize", 64, "fp32", "channels", arch)
    for dimension in (64, 256) if full else (64,):
        for dtype in ("fp32", "bf16"):
            yield from simple_cases(dtype, dimension)


def compile_case(case: Case, arch: str) -> dict[str, Any]:
    """Compile for a target and measure."""
    signature, constants, attributes = {}, {}, {}
    for position, name in enumerate(case.kernel.arg_names):
        kind = case.arguments[name]
        is_type = isinstance(kind, str) and name != "METRIC"
        signature[name] = kind.split(":")[0] if is_type else "constexpr"
        if not is_type:
            constants[name] = kind
        elif kind.startswith("*") or kind.endswith(":16"):
            attributes[(position,)] = [["tt.divisibility", 16]]
    source = ASTSource(case.kernel, signature, constants, attributes)
    options = {"num_warps": case.warps, "num_stages": case.stages, "enable_fp_fusion": True}
    built = triton.compile(source, target=TARGETS[arch], options=options)
    measured = _read_amd(built.asm["amdgcn"]) if arch.startswith("gfx") else _read_nvidia(built.asm["cubin"])
    instructions, loops = measured.pop("code")
    measured["shared"] = built.metadata.shared
    measured["tensor_core"] = sum(bool(TENSOR_CORE.match(op)) for op in instructions)
    measured["global_access"] = dict(sorted(collections.Counter(filter(GLOBAL_ACCESS.match, instructions)).items()))
    if case.pairs:
        threads = case.warps * TARGETS[arch].warp_size
        scale = threads * case.rounds / case.pairs
        loop = main_loop(instructions, loops)
        count = collections.Counter(op.split(".")[0] for op in loop)
        measured["per_pair"] = round(len(loop) * scale, 3)
        measured["per_pair_by_opcode"] = {op: round(n * scale, 3) for op, n in count.most_common(12)}
    return measured


def main_loop(instructions: list[str], loops: list[tuple[int, int]]) -> list[str]:
    """The first innermost loop with tensor-core instructions."""
    for start, end in sorted(loops):
        inside = any((a, b) != (start, end) and start <= a and b <= end for a, b in loops)
        if not inside and any(TENSOR_CORE.match(op) for op in instructions[start : end + 1]):
            return instructions[start : end + 1]
    raise RuntimeError("no loop with tensor-core instructions")


def _read_nvidia(cubin: bytes) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage = _run("cuobjdump", "--dump-resource-usage", file.name)
        listing = _run("nvdisasm", "-c", file.name)
    line = re.compile(r"^\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?([A-Z0-9_.]+)(.*)")
    instructions, loops = _read_listing(listing, line, r"^\s*(\.L_x_\d+):", r"BRA\b.*`\((\.L_x_\d+)\)")
    used = {name: int(found) for name, found in re.findall(r"(REG|LOCAL|STACK):(\d+)", usage)}
    # ptxas counts spills under STACK, with the 8 bytes that a call to its 64-bit division takes.
    spills = any(op.startswith(("LDL", "STL")) for op in instructions)
    spilled = used["LOCAL"] + used["STACK"] if spills else 0
    return {"registers": used["REG"], "spilled": spilled, "code": (instructions, loops)}


def _read_amd(listing: str) -> dict[str, Any]:
    line = re.compile(r"^\t([vs]_\w+|global_\w+|buffer_\w+|ds_\w+|scratch_\w+)(.*)")
    code = _read_listing(listing, line, r"^(\.LBB\w+):", r"s_c?branch\w*\s+(\.LBB\w+)")

    def field(name: str) -> int:
        found = re.search(rf"\.{name}:\s+(\d+)", listing)
        assert found, name
        return int(found[1])

    spilled = field("private_segment_fixed_size") + 4 * (field("vgpr_spill_count") + field("sgpr_spill_count"))
    return {"registers": field("vgpr_count"), "spilled": spilled, "code": code}


def _read_listing(
    listing: str, line: re.Pattern[str], label: str, branch: str
) -> tuple[list[str], list[tuple[int, int]]]:
    """Opcodes in order, and (start, end) of each backward branch."""
    instructions: list[str] = []
    labels: dict[str, int] = {}
    loops = []
    for text in listing.splitlines():
        if found := re.match(label, text):
            labels[found[1]] = len(instructions)
        elif found := line.match(text):
            instructions.append(found[1])
            target = re.search(branch, text)
            if target and labels.get(target[1], len(instructions)) < len(instructions) - 1:
                loops.append((labels[target[1]], len(instructions) - 1))
    return instructions, loops


def _run(tool: str, *arguments: str) -> str:
    return subprocess.run([TOOLS / tool, *arguments], capture_output=True, text=True, check=True).stdout


def measure(arch: str, brief: bool = False, only: str = "") -> dict[str, dict[str, Any]]:
    """All measurements of one target, by case name."""
    return {case.name: compile_case(case, arch) for case in cases(arch, brief) if only in case.name}


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
    chosen = parser.parse_args()
    os.environ.pop("TRITON_INTERPRET", None)
    report = {}
    for arch in chosen.arch or TARGETS:
        report[arch] = measure(arch, only=chosen.only)
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
    if not chosen.only and not chosen.arch:
        RECORD.parent.mkdir(exist_ok=True)
        RECORD.write_text(json.dumps({"triton": triton.__version__, "targets": report}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
