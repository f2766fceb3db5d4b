"""Launch configurations of the search: a table by architecture and D, and a file that may take its place.

    AEVAE_FAST_CONFIGURATIONS=FILE      a table that `python -m benchmarks.tune` measured on the device at hand

The table below was chosen on machine code (benchmarks/results/compile_report.json): instructions per (row, code) pair,
no spills, and shared memory within what the smallest card of each family grants a program: 99 KB on consumer cards
(sm_86, sm_89, sm_120), 163 KB on sm_80, 227 KB on sm_90 and sm_100, 64 KB on gfx942. Nothing is tuned while a program
runs: the same shapes launch the same kernels on every run.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import triton

VARIABLE = "AEVAE_FAST_CONFIGURATIONS"
# Before 3.9, each product of a pipelined tile gets an accumulator of its own on sm_100, in a tensor memory that holds
# two.
CHAINS_PRODUCTS = tuple(map(int, triton.__version__.split(".")[:2])) >= (3, 9)


class Tile(NamedTuple):
    """What a table says of a range of D. Rows stay on the chip where block_d is 0, else so many dimensions."""

    block_n: int
    block_k: int
    block_d: int
    group_steps: int
    num_warps: int
    num_stages: int


class SearchConfig(NamedTuple):
    """Tile sizes and launch options of the sweep, and how its columns are laid out (code_columns.py)."""

    block_n: int
    block_k: int
    block_d: int
    columns: int  # of the main tile, padded
    segment: int  # columns of a part
    parts: int  # 1, or 3: high and low parts of rows and codes in one product
    inline: bool  # whether bias and bounds are columns of the main tile, else they get one of their own
    lanes: int  # among which an MMA accumulator deals 8 columns: 4 take 2 neighbours each, 2 (gfx) take 4
    group_steps: int
    num_warps: int
    num_stages: int
    descriptors: bool  # tiles of codes come through the tensor memory accelerator
    ptx: bool
    again: SearchConfig | None = None  # of a second sweep, in three parts, over the rows that the first leaves open

    @property
    def streamed(self) -> bool:
        """Whether rows lie in memory as parts (split_rows.py)."""
        return self.block_d < self.columns

    @property
    def apart(self) -> bool:
        """Whether low parts have columns of their own, beside the high ones that a first sweep has: a second sweep."""
        return self.parts > 1 and self.columns == self.segment

    @property
    def group(self) -> int:
        """Codes of a group."""
        return 8 // self.lanes * self.group_steps

    @property
    def slots(self) -> int:
        """Groups of a tile."""
        return self.block_k // self.group


# Largest D → tile. Wider tiles take fewer instructions a pair, groups of 32 codes fewer than of 16 (but more registers,
# and more codes to compare for a row that stays open, which costs little where codes are short). Rows that 16 does not
# divide are read number by number, and leave fewer registers.
TABLE: Mapping[str, Mapping[int, Tile]] = {
    "sm_90": {
        8: Tile(128, 128, 0, 8, 4, 3),
        16: Tile(128, 256, 0, 16, 8, 2),
        32: Tile(128, 256, 0, 8, 8, 2),
        64: Tile(128, 256, 0, 8, 8, 3),
        128: Tile(128, 256, 0, 8, 8, 2),
        256: Tile(128, 128, 0, 8, 8, 2),
        2**31: Tile(128, 256, 64, 8, 8, 2),
    },
    "sm_100": {
        16: Tile(128, 128, 0, 8, 4, 3 if CHAINS_PRODUCTS else 1),
        31: Tile(128, 128, 0, 8, 8, 2 if CHAINS_PRODUCTS else 1),
        32: Tile(128, 128, 0, 8, 4, 3 if CHAINS_PRODUCTS else 1),
        63: Tile(128, 128, 0, 8, 8, 2 if CHAINS_PRODUCTS else 1),
        64: Tile(128, 128, 0, 8, 4, 3 if CHAINS_PRODUCTS else 1),
        128: Tile(128, 128, 0, 8, 4, 2 if CHAINS_PRODUCTS else 1),
        256: Tile(128, 128, 0, 8, 8, 2 if CHAINS_PRODUCTS else 1),
        2**31: Tile(128, 256, 64, 8, 8, 2),
    },
    "sm_80": {
        128: Tile(128, 128, 0, 8, 8, 2),
        2**31: Tile(128, 64, 64, 8, 8, 3),
    },
    "gfx": {
        64: Tile(128, 64, 0, 4, 4, 2),
        2**31: Tile(128, 64, 32, 4, 4, 2),
    },
}  # fmt: skip
# Of the second sweep at D = 33 to 64, over the rows that the first leaves open: four products, 208 deep.
AGAIN = {"sm_90": Tile(128, 256, 0, 8, 8, 2), "sm_100": Tile(128, 128, 0, 8, 4, 3 if CHAINS_PRODUCTS else 1)}
# Codes from which on wide rows are narrowed down (narrow.py); fewer are compared while two kernels start.
NARROWED = 4096
# The multiprocessors that a codebook is split for where there is no device to ask: the interpreter's tests.
PROCESSORS = 4


def architecture(device: torch.device) -> str:
    """ "sm_90", "gfx942", … of a device; "cpu" under the interpreter."""
    if device.type != "cuda":
        return "cpu"
    if torch.version.hip:
        return torch.cuda.get_device_properties(device).gcnArchName.split(":")[0]
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"


def family(arch: str) -> str:
    """The row of the table: sm_80 stands for all that has neither descriptors nor its shared memory."""
    if arch.startswith("gfx"):
        return "gfx"
    return {"sm_90": "sm_90", "sm_100": "sm_100", "sm_103": "sm_100"}.get(arch, "sm_80")


@functools.lru_cache
def search_config(dimension: int, arch: str) -> SearchConfig:
    """The configuration of nearest_code and vector_quantize."""
    table = {**TABLE, **_tuned(os.environ.get(VARIABLE))}
    tiles = table.get(arch) or table[family(arch)]
    # Long rows that 16 does not divide are read number by number: too many addresses for registers beside a sweep.
    broken = dimension > 64 and dimension % 16 > 0
    most = max(tiles) if broken else min(most for most in tiles if dimension <= most)
    config = layout(dimension, tiles[most], arch)
    if config.descriptors and config.segment == 64:
        # The same groups, and no more of them in a tile: entries of both are read alike. Both read the same columns.
        tile = AGAIN[family(arch)]
        tile = tile._replace(block_k=min(tile.block_k, config.block_k), group_steps=config.group_steps)
        config = config._replace(again=layout(dimension, tile, arch, parts=3))
    return config


def layout(dimension: int, tile: Tile, arch: str, parts: int | None = None) -> SearchConfig:
    """The columns of a tile: three parts up to D = 32, where one product of 32 to 128 holds them. Above, a second sweep
    asks for three, and they stay apart: the first has the high one in memory already.

    Bias and bounds fit in there too; but where a tile takes one product alone Triton deals its columns out among warps,
    except with the products of sm_90 and sm_100."""
    descriptors = family(arch) in ("sm_90", "sm_100") and not tile.block_d
    segment = max(8, triton.next_power_of_2(dimension))
    parts = parts or (3 if segment <= 32 else 1)
    columns = 4 * segment if segment <= 32 else segment
    if tile.block_d:
        parts, columns = 1, -(-dimension // 64) * 64
        segment = columns
    block_d = tile.block_d or columns
    return SearchConfig(
        tile.block_n, tile.block_k, block_d, columns, segment, parts, descriptors and columns > segment,
        2 if arch.startswith("gfx") else 4, tile.group_steps, tile.num_warps, tile.num_stages, descriptors,
        arch.startswith("sm_"),
    )  # fmt: skip


def _tuned(path: str | None) -> dict[str, dict[int, Tile]]:
    if not path:
        return {}
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        return {arch: {int(most): Tile(**tile) for most, tile in tiles.items()} for arch, tiles in found.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{VARIABLE}: expected a file that benchmarks.tune wrote, got {path!r} ({error})") from error


def splits_of(rows: int, tiles: int, config: SearchConfig, device: torch.device) -> tuple[int, int]:
    """Into how many parts the codebook is split among programs, and tiles of each: where rows alone leave
    multiprocessors idle."""
    processors = PROCESSORS
    if device.type == "cuda":
        processors = torch.cuda.get_device_properties(device).multi_processor_count
    wanted = max(1, processors // triton.cdiv(rows, config.block_n))
    each = triton.cdiv(tiles, min(wanted, tiles))
    return triton.cdiv(tiles, each), each
