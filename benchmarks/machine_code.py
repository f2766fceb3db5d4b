"""Compile a kernel for a GPU that is not here and read its machine code: registers, spills, loops, opcodes.

The main loop is the first innermost loop that holds tensor-core instructions (of kernels that use none, fused
multiply-adds); the rescan of a winning group holds none, and the second sweep comes after. Where that loop runs over
blocks of D, the loop around it, over tiles of codes, counts too, once a tile. Of a kernel without loops every
instruction up to its end counts, once for each of its threads. The counts repeat exactly on any machine with the same
Triton.
"""

from __future__ import annotations

import collections
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
    "gfx942 large": GPUTarget("hip", "gfx942", 64),  # tensors past 2 GB
}
TENSOR_CORE = re.compile(r"(HGMMA|HMMA|UTCHMMA|UTCQMMA|v_mfma)")
MULTIPLY_ADD = re.compile(r"FFMA")
GLOBAL_ACCESS = re.compile(r"(LDG|LDGSTS|UTMALDG|STG|global_load|global_store|buffer_load|buffer_store)(?!DEPBAR)")
STORE = re.compile(r"(STG|RED|ATOMG?)\b|(global|buffer|flat)_(store|atomic)")
READ = re.compile(r"(LDG|LDGSTS|UTMALDG|global_load|buffer_load)(?!DEPBAR|STS)")
TYPE = re.compile(r"\*|[iu]\d|fp\d|tensordesc")


class Case(NamedTuple):
    """One kernel with one set of argument types and constants."""

    name: str
    kernel: Any
    # A type or a constant: "*fp32", "*fp32:1" where not aligned to 16 bytes; "i32", "i32:16" where divisible by 16.
    arguments: dict[str, Any]
    warps: int
    stages: int | None = None  # None: the backend's default
    pairs: int = 0  # (row, code) pairs of a tile, 0 where there is no main loop
    depth: int = 0  # products a pair that a loop over blocks of D takes, 0 where rows stay on the chip
    step: int = 0  # dimensions that one round of that loop takes, where it is of multiply-adds
    elements: float = 0  # of a program, on average, where instructions an element are to be counted
    registers: int | None = None  # the most that a thread may take, on NVIDIA's; None: the compiler's choice

    def key(self) -> str:
        """What decides the machine code: cases that share it are compiled once."""
        used = {name: self.arguments[name] for name in self.kernel.arg_names}
        counted = f"{self.pairs} {self.depth} {self.step} {self.elements:.1f}"
        return f"{self.kernel.__name__} {used} {self.warps} {self.stages} {self.registers} {counted}"


def compile_case(case: Case, arch: str) -> dict[str, Any]:
    """Compile for a target and measure."""
    built, measured = _compiled(case, arch)
    instructions, loops = measured.pop("code")
    measured["shared"] = built.metadata.shared
    measured["tensor_core"] = sum(bool(TENSOR_CORE.match(op)) for op in instructions)
    measured["global_access"] = dict(sorted(collections.Counter(filter(GLOBAL_ACCESS.match, instructions)).items()))
    measured["instructions"] = sum(op != "NOP" for op in instructions)
    threads = case.warps * TARGETS[arch].warp_size
    if case.pairs:
        count = tile_instructions(instructions, loops, case)
        if not case.step:  # else of single numbers of a block's rows, which stay in L1
            measured["loop_reads"] = widths({op: n for op, n in count.items() if READ.match(op)})
        measured |= _per("pair", _by_opcode(count), threads / case.pairs)
    if case.elements:
        count = collections.Counter(op for op in instructions if op != "NOP")
        measured |= _per("element", _by_opcode(count), threads / case.elements)
    return measured


def _compiled(case: Case, arch: str) -> tuple[Any, dict[str, Any]]:
    built = triton.compile(_source(case, arch), target=TARGETS[arch], options=_options(case, arch))
    return built, _read_amd(built.asm["amdgcn"]) if arch.startswith("gfx") else _read_nvidia(built.asm["cubin"])


def stored_bytes(case: Case, arch: str) -> tuple[int, int]:
    """Bytes that a thread stores to global memory, by instructions inside of loops and outside."""
    instructions, loops = _compiled(case, arch)[1]["code"]
    # Behind the end stand the retries of waits, which jump back to where they came from.
    last = max(place for place, op in enumerate(instructions) if op in ("EXIT", "s_endpgm"))
    inside = {place for start, end in loops if end < last for place in range(start, end + 1)}
    stores = [(place in inside, access_bytes(op)) for place, op in enumerate(instructions) if STORE.match(op)]
    return sum(width for looped, width in stores if looped), sum(width for looped, width in stores if not looped)


def _source(case: Case, arch: str) -> ASTSource:
    signature, constants, attributes = {}, {}, {}
    for position, name in enumerate(case.kernel.arg_names):
        kind = case.arguments[name]
        is_type = isinstance(kind, str) and TYPE.match(kind)
        signature[name] = kind.split(":")[0] if is_type else "constexpr"
        if not is_type:
            constants[name] = kind
        elif kind.endswith(":16") or (kind.startswith("*") and not kind.endswith(":1")):
            attributes[(position,)] = [["tt.divisibility", 16]]
        if is_type and kind.startswith("*") and arch == "gfx942":  # Triton reads up to 2 GB through buffers there
            attributes.setdefault((position,), []).append(["tt.pointer_range", 32])
    return ASTSource(case.kernel, signature, constants, attributes)


def _options(case: Case, arch: str) -> dict[str, Any]:
    options: dict[str, Any] = {"num_warps": case.warps, "enable_fp_fusion": True}
    if case.stages is not None:
        options["num_stages"] = case.stages
    if case.registers is not None and arch.startswith("sm_"):
        options["maxnreg"] = case.registers
    return options


def _by_opcode(instructions: collections.Counter[str]) -> collections.Counter[str]:
    count: collections.Counter[str] = collections.Counter()
    for op, n in instructions.items():
        count[op.split(".")[0]] += n
    return count


def _per(unit: str, count: collections.Counter[str], scale: float) -> dict[str, Any]:
    by_opcode = {op: round(n * scale, 3) for op, n in count.most_common(12)}
    return {f"per_{unit}": round(count.total() * scale, 3), f"per_{unit}_by_opcode": by_opcode}


def widths(accesses: dict[str, int]) -> dict[int, int]:
    """How many of these accesses, by opcode, move how many bytes a thread."""
    found: collections.Counter[int] = collections.Counter()
    for op, n in accesses.items():
        found[access_bytes(op)] += n
    return dict(sorted(found.items()))


def access_bytes(op: str) -> int:
    """What a thread moves by one global access."""
    names = {"128": 16, "dwordx4": 16, "dwordx3": 12, "64": 8, "dwordx2": 8, "dword": 4, "U16": 2, "S16": 2}
    names |= {"ushort": 2, "short": 2, "U8": 1, "S8": 1, "ubyte": 1, "sbyte": 1, "byte": 1}
    if op.startswith("UTMALDG"):  # the tensor memory accelerator moves a whole tile for one thread, in lines
        return 16
    found = [names[part] for part in re.split(r"[._]", op) if part in names]
    return found[0] if found else 4


def tile_instructions(instructions: list[str], loops: list[tuple[int, int]], case: Case) -> collections.Counter[str]:
    """What a thread executes for one tile of codes, by opcode."""
    work = MULTIPLY_ADD if case.step else TENSOR_CORE
    for start, end in sorted(loops):
        inside = any((a, b) != (start, end) and start <= a and b <= end for a, b in loops)
        if inside or not any(work.match(op) for op in instructions[start : end + 1]):
            continue
        count = collections.Counter(instructions[start : end + 1])
        around = [(a, b) for a, b in loops if (a, b) != (start, end) and a <= start and end <= b]
        if not around or case.depth == 0:  # blocks of D unrolled, or none
            return count
        first, last = min(around, key=lambda loop: loop[1] - loop[0])
        rounds = case.depth / _depth(instructions[start : end + 1], case)
        for op in count:
            count[op] = round(count[op] * rounds)
        return count + collections.Counter(instructions[first:start] + instructions[end + 1 : last + 1])
    raise RuntimeError(f"no loop with {work.pattern}")


def _depth(loop: list[str], case: Case) -> float:
    """Products a pair of one round; LLVM unrolls such loops for gfx942 in part, where an opcode says what it does."""
    if case.step:
        return case.step
    shapes = [re.match(r"v_mfma_f32_(\d+)x(\d+)x(\d+)", op) for op in loop]
    products = sum(int(s[1]) * int(s[2]) * int(s[3]) for s in shapes if s)
    return products * case.warps / case.pairs if products else case.arguments["BLOCK_D"]


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

    # Scalars that spill go to lanes of a vector register, not to memory: counted apart.
    spilled = field("private_segment_fixed_size") + 4 * field("vgpr_spill_count")
    scalars = field("sgpr_spill_count")
    return {"registers": field("vgpr_count"), "spilled": spilled, "scalars_in_lanes": scalars, "code": code}


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
