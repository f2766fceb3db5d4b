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

    Up to D = 64 (32 on sm_80 and its like) a program keeps its rows on the chip for the whole sweep; above, it reads
    them as bf16 parts (split_rows.py), 64 dimensions at a time.
    """
    wide, amd = arch in ("sm_90", "sm_100", "sm_103"), arch.startswith("gfx")
    streamed = dimension > (64 if wide or amd else 32)
    block_d = (32 if dimension <= 64 else 64) if streamed else max(16, 1 << (dimension - 1).bit_length())
    padded_d = -(-dimension // 64) * 64 if streamed else block_d
    aligned = dimension % 16 == 0
    if amd:
        block_n = 128 if aligned or not streamed else 64
        return SearchConfig(block_n, 64, block_d, padded_d, 4 if streamed else 8, 2)
    if not wide:
        block_n, block_k = (64, 64) if aligned else (32, 64)
        if dimension <= 64:
            block_n, block_k = 128 if dimension <= 16 else 64, 32
        return SearchConfig(block_n, block_k, block_d, padded_d, 4, 3 if streamed else 2)
    # Rows that are not 16-byte aligned take a register pair of address per element; fp32 rows in vector_quantize would
    # spill at D = 64 and 256 codes, and 128 take 3.3 instructions a pair where 256 take 2.4.
    if streamed:
        return SearchConfig(128, 256 if aligned else 128, block_d, padded_d, 8, 2)  # a third stage spills
    roomy = not fused or (aligned and (block_d < 64 or dtype == torch.bfloat16))
    return SearchConfig(128, 256 if roomy else 128, block_d, padded_d, 8, 2)
