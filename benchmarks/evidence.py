"""What the cost model takes from records: instructions from the machine code of kernels, and how many codes the search
compares exactly, from the certificate's arithmetic. Neither is a time."""

import json
import re
from collections.abc import Mapping, Sequence
from math import log2
from pathlib import Path
from typing import Any, NamedTuple

from .devices import REGISTERS, WARPS

# Opcodes that go at half of the issue rate: comparisons, selections, minima, integer arithmetic, shuffles of bits.
_HALF = {
    "FMNMX", "FSEL", "FSETP", "I2FP", "IADD3", "IMAD", "IMNMX", "ISETP", "LEA", "LOP3", "PRMT", "SEL", "SHF", "VIADD",
    "VIMNMX", "VIMNMX3",
}  # fmt: skip
_SPECIAL = {"F2F", "F2I", "I2F", "MUFU"}
# Open rows from which on a second sweep takes them (kernels/search.py).
SWEPT_AGAIN = 4096
# What benchmarks draw, as the certificate's record calls it, and the product that the kernels take.
_DRAWN, _PRODUCT = "N(0, 1)", "float16"


class Evidence(NamedTuple):
    """Records beside those of time.

    Attributes:
        targets: target → configuration → what was measured, of `benchmarks.compile_report`.
        shares: of rows by verdict, an entry a shape and kind of data, of `benchmarks.certificate`; may be empty.
    """

    targets: Mapping[str, Any]
    shares: Sequence[Mapping[str, Any]] = ()


def read_evidence(folder: Path) -> Evidence:
    """What there is of it in `folder`."""
    compiled, certificate = (_read(folder / f"{name}.json") for name in ("compile_report", "certificate"))
    return Evidence(compiled.get("targets", {}), certificate.get("shares", []))


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


class Again(NamedTuple):
    """What the search looks at again.

    Attributes:
        rows: left open at last, as a share of all.
        codes: compared exactly, a row of all.
        swept: rows that a second sweep takes, as a share of all.
        narrowed: rows that a sweep for groups within reach takes, likewise.
    """

    rows: float
    codes: float
    swept: float = 0.0
    narrowed: float = 0.0


def compared_again(evidence: Evidence, rows: int, dim: int, codes: int, parts: int) -> Again | None:
    """Of so many rows, by the recorded shape that is nearest in D, then in K, with as many parts; None where there is
    none."""
    wanted = {"data": _DRAWN, "product": _PRODUCT, "parts": parts}
    found = [entry for entry in evidence.shares if all(entry[key] == value for key, value in wanted.items())]
    if not found:
        return None
    nearest = min(found, key=lambda entry: (abs(log2(entry["dim"] / dim)), abs(log2(entry["codes"] / codes))))
    shares = nearest["shares"]
    second = shares.get("second sweep", {"rows": 0.0})
    if second["rows"] and second["rows"] * rows < SWEPT_AGAIN:
        shares, second = shares["first sweep"], {"rows": 0.0}
    return Again(1 - shares["certified"], shares["codes"], second["rows"], shares.get("narrowed", 0.0))


class Counts(NamedTuple):
    """Thread instructions a unit of work: a (row, code) pair of a search, an element of a latent.

    Attributes:
        issued: all of them, each of which takes an issue slot.
        half: of these, what goes at half rate. The record names the most frequent opcodes only, so a lower bound.
        special: exponentials, logarithms, conversions.
        registers: of a thread.
        shared: bytes of shared memory of a program.
    """

    issued: float
    half: float
    special: float
    registers: int
    shared: int


def counts(evidence: Evidence, target: str, kernel: str, dim: int, rest: str) -> Counts | None:
    """Of the configuration `kernel D=dim rest`, or the next larger D that is recorded, or the largest there is; None
    where the target has none of them."""
    pattern = re.compile(rf"{re.escape(kernel)} D=(\d+) {re.escape(rest)}")
    found = {
        int(match[1]): entry
        for name, entry in evidence.targets.get(target, {}).items()
        if (match := pattern.fullmatch(name))
    }
    if not found:
        return None
    entry = found[min((size for size in found if size >= dim), default=max(found))]
    unit = "per_pair" if "per_pair" in entry else "per_element"
    opcodes = entry[f"{unit}_by_opcode"]
    half, special = (sum(n for opcode, n in opcodes.items() if opcode in group) for group in (_HALF, _SPECIAL))
    return Counts(entry[unit], half, special, entry["registers"], entry["shared"])


def programs_a_processor(found: Counts, warps: int, shared: int) -> int:
    """How many programs of `warps` warps stand beside each other on a processor with that many bytes of shared memory:
    registers are given out to a warp in units of 256, and a program takes 1 KiB of shared memory for itself."""
    registers = -(-found.registers * 32 // 256) * 256 * warps
    return max(1, min(REGISTERS // registers, shared // (found.shared + 1024), WARPS // warps))
