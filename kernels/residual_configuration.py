"""Launch configurations of residual_vector_quantize: a pure function of D and architecture, chosen on machine code.

No spills at any D, dtype and layout that was compiled, and a footprint in shared memory within what the smallest card
of each family grants a program (configuration.py).
"""

from __future__ import annotations

from typing import NamedTuple

from .configuration import CHAINS_PRODUCTS


class ResidualConfig(NamedTuple):
    """Tile sizes and launch options of the kernel."""

    block_n: int
    block_k: int
    block_d: int  # D padded to a power of two, 16 at least
    num_warps: int
    num_stages: int


def residual_config(dimension: int, arch: str) -> ResidualConfig | None:
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
    return ResidualConfig(rows, codes, block_d, warps, stages)
