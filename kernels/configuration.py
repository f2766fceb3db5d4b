"""Launch configurations: a pure function of D and architecture, the same on every run; no autotuning.

The table was chosen on machine code for sm_80, sm_90, sm_100 and gfx942, by instructions per (row, code) pair, with no
spills at any D, dtype, layout and metric that was compiled (benchmarks/results/searches_triton-*.csv) and a footprint
in shared memory that the smallest card of each family grants a program: 99 KB on consumer cards (sm_86, sm_89, sm_120),
163 KB on sm_80, 227 KB on sm_90 and sm_100, 64 KB on gfx942.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton

# Columns of the extra tile beside the codes, one bf16 step of the tensor cores: see prepared_codebook.py.
EXTRA = 16
# Codes of a group: as many as are read again, in fp32, for each row. A group is 8 columns that one thread holds of an
# MMA accumulator: 4 steps of 8 columns times 2 neighbours.
GROUP_STEPS = 4
GROUP = 2 * GROUP_STEPS


# Before 3.9, each product of a pipelined tile gets an accumulator of its own on sm_100: three of 256 columns exceed
# its tensor memory, and moving from one to the next spills.
CHAINS_PRODUCTS = tuple(map(int, triton.__version__.split(".")[:2])) >= (3, 9)


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


def search_config(dimension: int, arch: str) -> SearchConfig:
    """The configuration of nearest_code and vector_quantize.

    Up to D = 64 a program keeps its rows on the chip for the whole sweep; above, it reads them as bf16 parts
    (split_rows.py), a block of dimensions at a time. Wider tiles take fewer instructions a (row, code) pair, as far as
    registers reach: 256 codes where products leave theirs to the accumulator alone (sm_90; sm_100 with streamed rows),
    128 elsewhere and 64 where rows of more than 16 dimensions stand beside it.
    """
    streamed = dimension > 64
    block_d = 64 if streamed else max(16, 1 << (dimension - 1).bit_length())
    padded_d = -(-dimension // 64) * 64 if streamed else block_d
    if arch in ("sm_100", "sm_103") and not streamed:
        return SearchConfig(128, 128, block_d, padded_d, 4, 2 if CHAINS_PRODUCTS else 1)
    if arch in ("sm_90", "sm_100", "sm_103"):
        return SearchConfig(128, 256, block_d, padded_d, 8, 2)
    if arch.startswith("gfx"):
        if streamed:  # 32 dimensions at a time leave room for two programs beside each other
            return SearchConfig(128, 128, 32, padded_d, 4, 2)
        return SearchConfig(128, 128 if block_d < 64 else 64, block_d, padded_d, 4, 2)
    if streamed or dimension <= 16:
        return SearchConfig(128, 128, block_d, padded_d, 8, 3 if streamed else 2)
    return SearchConfig(64, 64, block_d, padded_d, 4, 2)


def residual_config(dimension: int, arch: str) -> SearchConfig | None:
    """The configuration of residual_vector_quantize, whose rows stay in registers, in fp32, beside the sweep.

    None above D = 128: at 256 the rows and the sweep together spill even with tiles of 64 rows and 64 codes, and
    smaller ones take several times the instructions of a launch a stage.
    """
    block_d = max(16, 1 << (dimension - 1).bit_length())
    old = not CHAINS_PRODUCTS  # its code takes more registers
    if block_d > 128 or (old and arch == "sm_90" and block_d == 128):
        return None
    rows, codes, warps, stages = 128, 128 if block_d == 16 else 64, 8, 2
    if arch == "sm_90":
        codes = 256 if block_d < (32 if old else 64) else 128
    elif arch in ("sm_100", "sm_103"):
        rows, codes, stages = 128 if block_d < 128 else 64, 128, 1 if old else 2
        warps = 4 if block_d == 16 else 8
    elif arch.startswith("gfx"):
        rows, warps = 128 if block_d == 16 else 64, 4
        codes = 32 if old and block_d == 128 else codes
    elif block_d == 128:
        rows, warps = 32, 4
    elif block_d == 64 and old:
        rows, codes, warps = 64, 32, 4
    return SearchConfig(rows, codes, block_d, block_d, warps, stages)
