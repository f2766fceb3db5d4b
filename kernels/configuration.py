"""Launch configurations: a pure function of D, dtype of x and architecture, the same on every run; no autotuning.

The table was chosen on machine code for sm_80, sm_90, sm_100 and gfx942 (benchmarks/results/compile_report.json), by
instructions per (row, code) pair, with no spills and a footprint in shared memory that the smallest card of each
family grants a program: 99 KB on consumer cards (sm_86, sm_89, sm_120), 163 KB on sm_80, 227 KB on sm_90 and sm_100,
64 KB on gfx942.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

# Columns of the extra tile beside the codes, one bf16 step of the tensor cores: see prepared_codebook.py.
EXTRA = 16
# Codes of a group: as many as are read again, in fp32, for each row. A group is 8 columns that one thread holds of an
# MMA accumulator: 4 steps of 8 columns times 2 neighbours.
GROUP_STEPS = 4
GROUP = 2 * GROUP_STEPS


class SearchConfig(NamedTuple):
    """Tile sizes and launch options of the search kernels."""

    block_n: int
    block_k: int
    block_d: int
    padded_d: int
    num_warps: int
    num_stages: int


def architecture(device: torch.device) -> str:
    """ "sm_90", "gfx942", … of a device; "cpu" under the interpreter."""
    if device.type != "cuda":
        return "cpu"
    if torch.version.hip:
        return torch.cuda.get_device_properties(device).gcnArchName.split(":")[0]
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


def search_config(dimension: int, dtype: torch.dtype, arch: str, fused: bool) -> SearchConfig:
    """The configuration of nearest_code, or of vector_quantize (fused), which needs registers for its output too.

    Up to D = 128 (64 off sm_90 and sm_100) a program keeps its rows on the chip for the whole sweep; above, it reads
    and splits them again, 64 dimensions at a time.
    """
    wide = arch in ("sm_90", "sm_100", "sm_103")
    small = (64, 64, 4) if arch.startswith("gfx") else (64, 64, 8) if fused else (32, 64, 4)
    block_d = max(16, 1 << (dimension - 1).bit_length())
    if block_d > (128 if wide else 64):
        if wide:
            small = (128, 64, 8) if arch == "sm_90" else (64, 64, 8 if fused or dtype == torch.bfloat16 else 4)
        block_n, block_k, num_warps = small
        return SearchConfig(block_n, block_k, 64, -(-dimension // 64) * 64, num_warps, 2)
    # Rows that are not 16-byte aligned take a register pair of address per element.
    aligned = dimension % 16 == 0
    if not wide:
        block_n, block_k, num_warps = small
    elif block_d == 128:
        block_n, block_k, num_warps = 128 if aligned else 64, 128, 8
    elif block_d < 64:
        block_n, block_k, num_warps = 128, 256 if aligned or not fused else 128, 8
    else:
        # fp32 in vector_quantize would spill at 256 codes; 128 take 3.3 instructions a pair where 256 take 2.4.
        roomy = aligned and (not fused or dtype == torch.bfloat16)
        block_n, block_k, num_warps = 128, 256 if roomy else 128, 8
    return SearchConfig(block_n, block_k, block_d, block_d, num_warps, 2)
