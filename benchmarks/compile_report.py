"""What every kernel configuration costs on GPUs that are not here: compile, read the machine code, count.

    python -m benchmarks.compile_report            writes results/compile_report.json and prints a table
    python -m benchmarks.compile_report --searches the search kernels at each D, dtype, layout and metric: hours too;
                                                   writes results/searches_triton-X.Y.csv
    python -m benchmarks.compile_report --every    each kernel at each of these, each option: hours; writes the CSV
    … --check                                      writes nothing; exit status 1 on a spill, too much shared memory, a
                                                   missing tensor-core instruction, or more instructions than recorded

For sm_80, sm_90, sm_100 and gfx942: registers, spilled bytes, shared memory, tensor-core instructions, widths of global
accesses; and instructions per (row, code) pair of the search's main loop, or per element of the Gaussian kernels
(machine_code.py says how). compile_record.py says what the records hold.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import triton

from .compile_cases import DIMENSIONS, DTYPES, LAYOUTS, METRICS, code_cases, row_cases
from .compile_record import complaints, read_details, read_sweep, sweep_path, write_details, write_sweep
from .compile_record import line as short
from .gaussian_cases import Variant, gaussian_case, gaussian_cases
from .machine_code import TARGETS, Case, compile_case
from .mixture_cases import mixture_cases
from .residual_cases import residual_cases
from .scalar_compile_cases import scalar_cases
from .search_cases import search_case

MAIN = ("sm_80", "sm_90", "sm_100", "gfx942")


def brief_cases(arch: str) -> Iterator[Case]:
    """One of each kernel, for a test."""
    yield search_case("nearest_code", 64, "fp32", "rows", arch)
    yield search_case("nearest_code", 256, "bf16", "rows", arch)
    yield search_case("narrow", 256, "fp32", "rows", arch)
    yield search_case("settle_wide", 256, "fp32", "rows", arch)
    yield search_case("settle", 64, "fp32", "rows", arch)
    yield search_case("vector_quantize", 256, "bf16", "rows", arch)
    yield from row_cases("fp32", 64, "rows", arch)
    yield from code_cases(64, arch)
    for kernel in ("reparameterize_kl", "reparameterize_kl_bwd"):
        yield gaussian_case(kernel, 256, "bf16", "chunk", arch)


def main_cases(arch: str) -> Iterator[Case]:
    """The configurations whose instructions are recorded by opcode: all D on sm_90, some elsewhere."""
    full = arch == "sm_90"
    wide = tuple(d for d in DIMENSIONS if d >= 8 and d not in (17, 1024))
    for dimension, dtype in itertools.product(wide if full else (16, 64, 100, 256, 768), ("fp32", "bf16")):
        yield search_case("nearest_code", dimension, dtype, "rows", arch)
        if dimension in (8, 64, 100, 256):
            yield search_case("settle", dimension, dtype, "rows", arch)
        if dimension in (64, 100, 256):
            yield search_case("vector_quantize", dimension, dtype, "rows", arch)
        if dimension > 64:
            yield search_case("narrow", dimension, dtype, "rows", arch)
            yield search_case("settle_wide", dimension, dtype, "rows", arch)
    if arch in ("sm_90", "sm_100"):
        for dtype in ("fp32", "bf16"):
            yield search_case("nearest_code", 64, dtype, "rows", arch, again=True)
    for dimension in (64, 256) if full else (64,):
        for kernel in ("nearest_code", "vector_quantize"):
            yield search_case(kernel, dimension, "fp16", "rows", arch)
            yield search_case(kernel, dimension, "fp32", "channels", arch)
        yield search_case("nearest_code", dimension, "fp32", "rows", arch, split=True)
        yield search_case("settle", dimension, "fp32", "rows", arch, split=True)
        for dtype in ("fp32", "bf16") if full else ("fp32",):
            yield from row_cases(dtype, dimension, "rows", arch)
        yield from code_cases(dimension, arch)
    for metric in ("cosine", "dot") if full else ():
        yield search_case("nearest_code", 64, "fp32", "rows", arch, metric)
        yield search_case("settle", 64, "fp32", "rows", arch, metric)
    yield from gaussian_cases(arch)
    yield from mixture_cases()
    yield from scalar_cases()
    yield from residual_cases(arch)
    if full:
        yield gaussian_case("reparameterize_kl", 8, "bf16", "chunk", arch)
        for variant in (Variant("std"), Variant("softplus"), Variant(prior=True), Variant(reduction="latent")):
            for dtype in ("fp32", "bf16"):
                yield gaussian_case("reparameterize_kl", 256, dtype, "chunk", arch, variant)


def every_search(arch: str) -> Iterator[Case]:
    """The search kernels at each D, dtype, layout and metric."""
    for dimension, dtype, layout in itertools.product(DIMENSIONS, DTYPES, LAYOUTS):
        kernels = ("nearest_code", "settle", "vector_quantize", *(("narrow", "settle_wide") if dimension > 64 else ()))
        for kernel, metric in itertools.product(kernels, METRICS):
            yield search_case(kernel, dimension, dtype, layout, arch, metric)
        if layout == "rows" and dtype == "fp32":
            for kernel in ("nearest_code", "settle", "vector_quantize"):
                yield search_case(kernel, dimension, dtype, layout, arch, split=True)
    for dimension, dtype, layout, metric in itertools.product((50, 64), DTYPES, LAYOUTS, METRICS):
        if arch in ("sm_90", "sm_100"):
            yield search_case("nearest_code", dimension, dtype, layout, arch, metric, again=True)
    for dimension in DIMENSIONS:
        yield from (case for case in code_cases(dimension, arch, METRICS) if case.name.startswith("code_columns"))
        yield from (case for case in row_cases("fp32", dimension, "rows", arch) if case.name.startswith("split_rows"))


def every_case(arch: str) -> Iterator[Case]:
    """Each D with each dtype, layout and metric, each kernel without what it may lack too; of tensors past 2 GB, which
    only gfx942 reads otherwise, the main ones."""
    if "large" in arch:
        yield from main_cases(arch.split()[0])
        return
    yield from every_search(arch)
    for dimension, dtype, layout in itertools.product(DIMENSIONS, DTYPES, LAYOUTS):
        yield from row_cases(dtype, dimension, layout, arch, every=True)
    for dimension in DIMENSIONS:
        yield from code_cases(dimension, arch, METRICS)
    yield from gaussian_cases(arch, every=True)
    yield from mixture_cases(every=True)
    yield from scalar_cases(every=True)
    yield from residual_cases(arch, every=True)


def measure(arch: str, chosen: Iterable[Case]) -> dict[str, dict[str, Any]]:
    """Measurements by case name; each distinct machine code is compiled and printed once."""
    print(
        f"\n{arch}\n{'':52}{'regs':>6}{'spill':>6}{'shared':>8}{'mma':>5}{'issued':>9}{'16 B':>7}{'less':>6}",
        flush=True,
    )
    seen: dict[str, dict[str, Any]] = {}
    report = {}
    for case in chosen:
        if case.key() not in seen:
            seen[case.key()] = compile_case(case, arch)
            _print_row(case.name, short(seen[case.key()]))
        report[case.name] = seen[case.key()]
    return report


def _print_row(name: str, row: dict[str, float]) -> None:
    unit = f"{row['per_unit']:.2f}" if "per_unit" in row else ""
    cells = f"{row['registers']:6}{row['spilled']:6}{row['shared']:8}{row['tensor_core']:5}{unit:>9}"
    print(f"{name:52}{cells}{row['wide']:7}{row['narrow']:6}", flush=True)


def _recorded(kind: str) -> dict[tuple[str, str], dict[str, float]] | None:
    """The record of this Triton, if there is one: another's counts are no measure."""
    if kind != "main":
        return read_sweep(sweep_path(kind)) if sweep_path(kind).is_file() else None
    details = read_details()
    if details["triton"] != triton.__version__:
        return None
    return {(target, name): short(row) for target, rows in details["targets"].items() for name, row in rows.items()}


def main() -> int:
    """Write the record, or check against it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="compare with the record of this Triton, write nothing")
    kinds = parser.add_mutually_exclusive_group()
    for kind, what in (("searches", "the search kernels, each D, dtype, layout and metric"), ("every", "all: hours")):
        kinds.add_argument(f"--{kind}", action="store_const", const=kind, dest="kind", default="main", help=what)
    parser.add_argument("--arch", choices=TARGETS, action="append", help="only these targets; writes nothing")
    parser.add_argument("--only", default="", help="only cases whose name holds this; writes nothing")
    chosen = parser.parse_args()
    os.environ.pop("TRITON_INTERPRET", None)
    cases = {"main": main_cases, "searches": every_search, "every": every_case}[chosen.kind]
    targets = chosen.arch or (TARGETS if chosen.kind == "every" else MAIN)
    report = {arch: measure(arch, (c for c in cases(arch) if chosen.only in c.name)) for arch in targets}
    if chosen.check:
        recorded = _recorded(chosen.kind)
        found = list(complaints(report, recorded))
        without = f"; there is no record of Triton {triton.__version__} to compare with" if recorded is None else ""
        print("\n".join(found) or "nothing spills, nothing grew" + without)
        return 1 if found else 0
    if not (chosen.only or chosen.arch):
        write_details(report) if chosen.kind == "main" else write_sweep(sweep_path(chosen.kind), report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
