"""Every kernel compiled for GPUs that are not here: no spills, within shared memory, no dearer than the record.

A sample is compiled here and held against the record; each record of every configuration that is there is held against
what it must show. `python -m benchmarks.compile_report --every --check` compiles all of them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

triton = pytest.importorskip("triton")

from benchmarks import compile_record, compile_report  # noqa: E402

ROOT = Path(__file__).parent.parent
# Of one main loop, in instructions per (row, code) pair on sm_90; of the Gaussian forward pass, per element.
LIMITS = {
    "nearest_code D=16 bf16 rows": 1.6,
    "nearest_code D=16 fp32 rows": 1.6,
    "nearest_code D=64 bf16 rows": 2.0,
    "nearest_code D=64 fp32 rows": 2.0,
    "nearest_code D=128 fp32 rows": 2.5,
    "nearest_code D=256 bf16 rows": 4.0,
    "nearest_code D=256 fp32 rows": 4.0,
    "reparameterize_kl D=256 fp32 chunk": 50,
    "reparameterize_kl D=256 bf16 chunk": 50,
    "reparameterize_kl D=256 fp32 chunk std": 50,
    "reparameterize_kl D=256 bf16 chunk latent": 50,
    "reparameterize_kl D=8 bf16 chunk": 50,
}
# Bytes a thread reads of codes at once. On sm_80 and gfx942 tiles hold 64 codes, and a program has more threads than
# their bounds have 16 bytes.
NARROWEST = {"sm_80": 8, "sm_90": 16, "sm_100": 16, "gfx942": 8, "gfx942 large": 8}
SEARCHES = ("nearest_code ", "vector_quantize ")
RECORDS = sorted(compile_record.RESULTS.glob("*_triton-*.csv"))
# A process of its own: under TRITON_INTERPRET, which other tests set, nothing can be compiled.
COMPILE = """
import json, sys
from benchmarks.compile_record import line
from benchmarks.compile_report import brief_cases, main_cases, measure
arch, names = json.loads(sys.argv[1])
chosen = [case for case in main_cases(arch) if case.name in names] if names else brief_cases(arch)
print(json.dumps({name: line(row) for name, row in measure(arch, chosen).items()}))
"""
MIXTURES = """
import json, sys
from benchmarks.compile_record import line
from benchmarks.compile_report import measure
from benchmarks.mixture_cases import mixture_cases
arch = json.loads(sys.argv[1])
print(json.dumps({name: line(row) for name, row in measure(arch, mixture_cases()).items()}))
"""
SCALARS = """
import json, sys
from benchmarks.compile_record import line
from benchmarks.compile_report import measure
from benchmarks.scalar_compile_cases import scalar_cases
arch = json.loads(sys.argv[1])
print(json.dumps({name: line(row) for name, row in measure(arch, scalar_cases()).items()}))
"""
LIST = """
import json
from benchmarks.compile_report import TARGETS, every_case
print(json.dumps({arch: [(case.name, case.key()) for case in every_case(arch)] for arch in TARGETS}))
"""


def run(script: str, argument: object = None) -> Any:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(argument)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def configurations() -> dict[str, list[list[str]]]:
    """Name and machine code of every configuration, by target."""
    return run(LIST)


@pytest.mark.parametrize(
    ("arch", "names"),
    [pytest.param("sm_90", list(LIMITS), id="sm_90")]
    + [pytest.param(arch, [], id=arch) for arch in ("sm_80", "sm_100", "gfx942")],
)
def test_a_sample_is_as_recorded(arch: str, names: list[str]) -> None:
    found = run(COMPILE, [arch, names])
    assert not names or set(found) == set(names)
    record = compile_record.read_details()
    for name, row in found.items():
        assert compile_record.faults(arch, row) == [], name
        if triton.__version__ == record["triton"]:
            assert compile_record.grown(row, compile_record.line(record["targets"][arch][name])) == [], name


@pytest.mark.parametrize("arch", ["sm_90", "gfx942"])
def test_mixture_kernels_fit(arch: str) -> None:
    found = run(MIXTURES, arch)
    assert len(found) == 7
    for name, row in found.items():
        assert compile_record.faults(arch, row) == [], name


@pytest.mark.parametrize("arch", ["sm_80", "gfx942"])
def test_scalar_kernels_fit(arch: str) -> None:
    found = run(SCALARS, arch)
    assert len(found) == 12
    for name, row in found.items():
        assert compile_record.faults(arch, row) == [], name
    assert found["fsq 8-5-5-5 fp32 rows"]["narrow"] <= 1  # 16 bytes at a time, but for the mask


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_the_record_holds_the_claims(path: Path, configurations: dict[str, list[list[str]]]) -> None:
    """Of every configuration, or every search: no spill, shared memory that fits, and for a search tensor cores and
    16-byte reads."""
    recorded = compile_record.read_sweep(path)
    listed = {(arch, name) for arch, group in configurations.items() for name, _ in group}
    if path.stem.startswith("searches"):
        listed = {(arch, name) for arch, name in listed if name.startswith(SEARCHES) and arch in compile_report.MAIN}
    assert recorded.keys() == listed
    for (arch, name), row in recorded.items():
        assert compile_record.faults(arch, row) == [], (arch, name)
        assert row.get("loop_bytes", 16) >= NARROWEST[arch], (arch, name)
    for name, limit in LIMITS.items():
        if ("sm_90", name) in listed:
            assert recorded["sm_90", name]["per_unit"] <= limit, name


def test_the_main_record_holds_the_limits() -> None:
    targets = compile_record.read_details()["targets"]
    assert set(targets) == set(compile_report.MAIN)
    for arch, rows in targets.items():
        for name, row in rows.items():
            assert compile_record.faults(arch, compile_record.line(row)) == [], (arch, name)
            assert compile_record.line(row).get("loop_bytes", 16) >= NARROWEST[arch], (arch, name)
    for name, limit in LIMITS.items():
        assert compile_record.line(targets["sm_90"][name])["per_unit"] <= limit, name


GOOD = {"registers": 99, "spilled": 0, "shared": 4096, "tensor_core": 8, "per_unit": 2.0, "loop_bytes": 16}


@pytest.mark.parametrize(
    ("arch", "change", "word"),
    [
        pytest.param("sm_90", {"spilled": 8}, "spills 8 bytes", id="spill"),
        pytest.param("gfx942", {"shared": 65537}, "shared memory", id="shared memory"),
        pytest.param("gfx942 large", {"tensor_core": 0}, "no tensor-core", id="no tensor cores"),
        pytest.param("sm_80", {"per_unit": 2.01}, "per_unit: 2.0 -> 2.01", id="instructions"),
        pytest.param("sm_80", {"loop_bytes": 8}, "loop_bytes: 16 -> 8", id="narrow reads"),
        pytest.param("sm_80", {"name": "another"}, "not in the record", id="unknown"),
    ],
)
def test_what_a_check_complains_of(arch: str, change: dict, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_record, "line", lambda measured: measured)
    name, row = change.get("name", "a kernel"), GOOD | {k: v for k, v in change.items() if k != "name"}
    (found,) = compile_record.complaints({arch: {name: row}}, {(arch, "a kernel"): GOOD})
    assert found.startswith(f"{arch} {name}: ")
    assert word in found


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    measured = {
        "registers": 1, "spilled": 2, "shared": 3, "tensor_core": 4, "instructions": 5, "per_element": 6.123,
        "global_access": {"LDG.E.128": 2, "LDG.E": 1},
    }  # fmt: skip
    searched = measured | {"per_pair": 7.0, "loop_reads": {16: 3, 8: 1}}
    compile_record.write_sweep(tmp_path / "record.csv", {"sm_90": {"a, b": measured, "c": searched}})
    found = compile_record.read_sweep(tmp_path / "record.csv")
    assert found["sm_90", "a, b"] == compile_record.line(measured) | {"per_unit": 6.12, "wide": 2, "narrow": 1}
    assert found["sm_90", "c"]["loop_bytes"] == 8
    assert "loop_bytes" not in found["sm_90", "a, b"]


def test_configurations_are_told_apart(configurations: dict[str, list[list[str]]]) -> None:
    """Different machine code never shares a name."""
    for group in configurations.values():
        assert len({name for name, _ in group}) == len({(name, key) for name, key in group})
