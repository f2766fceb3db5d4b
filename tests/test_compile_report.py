"""Every kernel compiled for GPUs that are not here: no spills, within shared memory, no dearer than the record."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

triton = pytest.importorskip("triton")

ROOT = Path(__file__).parent.parent
RECORD = ROOT / "benchmarks" / "results" / "compile_report.json"
# Of one main loop, in instructions per (row, code) pair on sm_90.
LIMITS = {
    "nearest_code D=64 bf16 rows": 2.3,
    "vector_quantize D=64 bf16 rows": 2.3,
    "nearest_code D=64 fp32 rows": 2.5,
    "vector_quantize D=128 bf16 rows": 3.5,
    "vector_quantize D=256 bf16 rows": 6.0,
    "vector_quantize D=256 fp32 rows": 8.0,
}
# A process of its own: under TRITON_INTERPRET, which other tests set, nothing can be compiled.
SCRIPT = """
import json, sys
from benchmarks.compile_report import measure
print(json.dumps(measure(*json.loads(sys.argv[1]))))
"""
SHARED = {"sm_80": 99 * 1024, "sm_90": 227 * 1024, "sm_100": 227 * 1024, "gfx942": 64 * 1024}


def compiled(*arguments):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(arguments)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("arch", "brief", "only"),
    [
        ("sm_90", False, "D=128"),
        ("sm_90", False, "D=16"),
        ("sm_80", True, ""),
        ("sm_100", True, ""),
        ("gfx942", True, ""),
    ],
    ids=["sm_90 D=128", "sm_90 D=16", "sm_80", "sm_100", "gfx942"],
)
def test_compiled(arch, brief, only):
    measured = compiled(arch, brief, only)
    assert measured
    record = json.loads(RECORD.read_text())
    for name, row in measured.items():
        assert row["spilled"] == 0, name
        assert row["shared"] <= SHARED[arch], name
        if "per_pair" in row:
            assert row["tensor_core"] > 0, name
        if arch == "sm_90" and "per_pair" in row:
            assert any(op.endswith("128") for op in row["global_access"]), name
            assert row["per_pair"] <= LIMITS.get(name, float("inf")), name
        if triton.__version__ == record["triton"]:
            recorded = record["targets"][arch][name]
            assert row.get("per_pair", 0) <= recorded.get("per_pair", 0), name


def test_the_record_holds_the_limits():
    record = json.loads(RECORD.read_text())["targets"]
    assert set(record) == set(SHARED)
    for arch, rows in record.items():
        for name, row in rows.items():
            assert row["spilled"] == 0, (arch, name)
            assert row["shared"] <= SHARED[arch], (arch, name)
    assert all(record["sm_90"][name]["per_pair"] <= limit for name, limit in LIMITS.items())
