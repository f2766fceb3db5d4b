"""The residual kernels compiled for GPUs that are not here: they fit, and residuals never go to memory.

The stores of the machine code are counted: none in the loop over stages or in any other, and after it as many bytes as
the outputs take (padded to a power of two), whatever the number of stages before them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

triton = pytest.importorskip("triton")

from benchmarks import compile_record  # noqa: E402

ROOT = Path(__file__).parent.parent
# Instructions per (row, code) pair of the main loop with fp32 rows, by D.
LIMITS = {
    "sm_80": {8: 3.4, 64: 7.5, 128: 17.5},
    "sm_90": {8: 1.9, 64: 3.4, 128: 4.4},
    "sm_100": {8: 2.0, 64: 3.4, 128: 6.8},
    "gfx942": {8: 2.8, 64: 8.7, 128: 12.0},
}
# A process of its own: under TRITON_INTERPRET, which other tests set, nothing can be compiled.
MEASURE = """
import json, sys
from benchmarks.compile_record import line
from benchmarks.machine_code import TARGETS, compile_case, stored_bytes
from benchmarks.residual_cases import residual_case, residual_cases, residual_config
arch = sys.argv[1]
found = {case.name: line(compile_case(case, arch)) for case in residual_cases(arch)}
stores = []
for dimension, dtype, stages in ((8, "fp32", 8), (64, "bf16", 8), (128, "fp32", 8), (128, "fp32", 16)):
    if residual_config(dimension, arch) is None:
        continue
    case = residual_case(dimension, dtype, "rows", arch, stages)
    threads = case.warps * TARGETS[arch].warp_size
    a_row = case.arguments["BLOCK_D"] * (2 if dtype == "bf16" else 4) + 8 * stages
    stores.append((case.name, *stored_bytes(case, arch), case.arguments["BLOCK_N"] * a_row / threads))
print(json.dumps([found, stores]))
"""


@pytest.fixture(scope="module", params=list(LIMITS))
def compiled(request) -> tuple[str, dict[str, Any], list[Any]]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, request.param],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return request.param, *json.loads(done.stdout.splitlines()[-1])


def test_nothing_spills_and_all_fits(compiled):
    arch, found, _ = compiled
    for name, row in found.items():
        assert compile_record.faults(arch, row) == [], name
    for dimension, limit in LIMITS[arch].items() if triton.__version__ >= "3.9" else ():
        row = found[f"residual_vector_quantize D={dimension} fp32 rows Q=8"]
        assert row["tensor_core"] > 0
        assert row["per_unit"] <= limit


def test_only_outputs_are_stored(compiled):
    for name, in_loops, after, outputs in compiled[2]:
        assert in_loops == 0, name
        # and four bytes for the error of a stage and program
        assert outputs <= after <= outputs + 4, name
