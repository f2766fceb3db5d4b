"""Records of compiled kernels: details of the main configurations (JSON), one line for each of all of them (CSV).

A line of `compiled_triton-X.Y.csv`, or of `searches_triton-X.Y.csv`, holds: target and configuration; registers a
thread; bytes spilled; bytes of shared memory; tensor-core instructions; instructions of the whole kernel; issued
instructions per (row, code) pair of the search's main loop, or per element; global accesses of 16 bytes a thread, and
narrower ones; for the search, the narrowest read of its main loop, in bytes.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import triton

from .machine_code import widths

RESULTS = Path(__file__).parent / "results"
DETAILS = RESULTS / "compile_report.json"
COLUMNS = (
    "target", "configuration", "registers", "spilled", "shared", "tensor_core", "instructions", "per_unit", "wide",
    "narrow", "loop_bytes",
)  # fmt: skip
# What the smallest card of each family grants a program: sm_80 stands for consumer cards too.
SHARED_LIMIT = {"sm_80": 99 * 1024, "sm_90": 227 * 1024, "sm_100": 227 * 1024, "gfx942": 64 * 1024}

Report = dict[str, dict[str, dict[str, Any]]]  # target → configuration → measured


def sweep_path(kind: str, version: str = triton.__version__) -> Path:
    """The record of "every" configuration, or of the "searches", with that Triton."""
    name = {"every": "compiled", "searches": "searches"}[kind]
    return RESULTS / f"{name}_triton-{'.'.join(version.split('.')[:2])}.csv"


def line(measured: dict[str, Any]) -> dict[str, float]:
    """The columns of a measured configuration, without its names."""
    accesses = widths(measured["global_access"])
    wide = accesses.get(16, 0)
    unit = measured.get("per_pair", measured.get("per_element"))
    found = {column: measured[column] for column in COLUMNS[2:7]}
    found |= {"wide": wide, "narrow": sum(accesses.values()) - wide}
    if unit is not None:
        found["per_unit"] = round(unit, 2)
    if "loop_reads" in measured:
        found["loop_bytes"] = min(map(int, measured["loop_reads"]))
    return found


def write_sweep(path: Path, report: Report) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for target, rows in report.items():
            for name, measured in rows.items():
                writer.writerow({"target": target, "configuration": name, **line(measured)})


def read_sweep(path: Path) -> dict[tuple[str, str], dict[str, float]]:
    """(target, configuration) → its columns."""
    with path.open(encoding="utf-8", newline="") as file:
        return {
            (row["target"], row["configuration"]): {c: float(row[c]) for c in COLUMNS[2:] if row[c]}
            for row in csv.DictReader(file)
        }


def write_details(report: Report) -> None:
    text = json.dumps({"triton": triton.__version__, "targets": report}, indent=1)
    DETAILS.write_text(text + "\n", encoding="utf-8")


def read_details() -> dict[str, Any]:
    return json.loads(DETAILS.read_text(encoding="utf-8"))


def faults(target: str, found: dict[str, float]) -> list[str]:
    """What no configuration may have, whatever the record says."""
    wrong = []
    if found["spilled"]:
        wrong.append(f"spills {found['spilled']:.0f} bytes")
    if found["shared"] > SHARED_LIMIT[target.split()[0]]:
        wrong.append(f"takes {found['shared']:.0f} bytes of shared memory")
    if "loop_bytes" in found and not found["tensor_core"]:
        wrong.append("has no tensor-core instruction")
    return wrong


def grown(found: dict[str, float], recorded: dict[str, float]) -> list[str]:
    """What is worse than a recorded configuration."""
    wrong = [f"{c}: {recorded[c]} -> {found[c]}" for c in ("per_unit",) if c in recorded and found[c] > recorded[c]]
    if found.get("loop_bytes", 0) < recorded.get("loop_bytes", 0):
        wrong.append(f"loop_bytes: {recorded['loop_bytes']} -> {found['loop_bytes']}")
    return wrong


def complaints(report: Report, recorded: dict[tuple[str, str], dict[str, float]] | None) -> Iterable[str]:
    """Each fault of a report, and, where there is a record, what is worse than recorded or not recorded at all."""
    for target, rows in report.items():
        for name, measured in rows.items():
            found, wrong = line(measured), faults(target, line(measured))
            if recorded is not None:
                before = recorded.get((target, name))
                wrong += grown(found, before) if before else ["is not in the record"]
            yield from (f"{target} {name}: {what}" for what in wrong)
