"""What the machine code of a kernel asks of a processor, read from the record of compiled kernels."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from .devices import REGISTERS, WARPS

# Opcodes that go at half of the issue rate: comparisons, selections, minima, integer arithmetic, shuffles of bits.
_HALF = {
    "FMNMX", "FSEL", "FSETP", "I2FP", "IADD3", "IMAD", "IMNMX", "ISETP", "LEA", "LOP3", "PRMT", "SEL", "SHF", "VIADD",
    "VIMNMX", "VIMNMX3",
}  # fmt: skip
_SPECIAL = {"F2F", "F2I", "I2F", "MUFU"}

Report = Mapping[str, Any]  # target → configuration → what was measured


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


def counts(report: Report, target: str, kernel: str, dim: int, rest: str) -> Counts | None:
    """Of the configuration `kernel D=dim rest`, or the next larger D that is recorded, or the largest there is; None
    where the target has none of them."""
    pattern = re.compile(rf"{re.escape(kernel)} D=(\d+) {re.escape(rest)}")
    found = {
        int(match[1]): entry for name, entry in report.get(target, {}).items() if (match := pattern.fullmatch(name))
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
