"""How the kernels lay a search out on a GPU: tiles of rows and codes, programs, and rounds of them."""

from math import ceil
from typing import NamedTuple

from .case_types import Case
from .certificate.scheme import scheme_for
from .roofline import BYTES

# Rows that are narrowed (kernels/narrow.py): tiles of codes that a program takes; at most so many waves of rows; one
# writes at most such a part of x's bytes.
NARROW_TILES, NARROW_WAVES, NARROW_SHARE = 16, 8, 16


class Tiles(NamedTuple):
    """How the search is laid out at a D: rows and codes of a tile, warps of a program; fp16 columns that the product is
    deep, bias and bounds among them; parts of a code; codes of a group; whether rows too are read as columns, anew for
    each tile of codes; columns of a first sweep, which two products take."""

    block_n: int
    block_k: int
    num_warps: int
    depth: int
    parts: int = 1
    group: int = 16
    streamed: bool = False
    reused: int = 0

    @property
    def read(self) -> int:
        """Columns of a code that a program reads."""
        return self.depth - self.reused

    @property
    def own(self) -> int:
        """Columns of a code that no other sweep has."""
        return self.read - self.reused

    def of(self, case: Case) -> int:
        """Tiles of a case's codes."""
        return -(-case.codes // self.block_k)


def search_tiles(dim: int, target: str, again: bool = False) -> Tiles | None:
    """What the kernels' own table says, of the first sweep or of the second, where there is one.

    Raises:
        ImportError: no Triton here, which the table needs.
    """
    from aevae_fast.kernels.code_columns import EXTRA
    from aevae_fast.kernels.configuration import search_config

    first = search_config(dim, target)
    config = first.again if again else first
    if config is None:
        return None
    products, reused = (3, config.columns) if config.apart else (1, 0)
    depth = products * config.columns + (0 if config.inline else EXTRA.value)
    sizes = (config.block_n, config.block_k, config.num_warps, depth, config.parts, config.group, config.streamed)
    return Tiles(*sizes, reused)


class Sweep(NamedTuple):
    """How a search is cut.

    Attributes:
        pairs: of rows and codes that the device spends time on, padding and idle processors among them.
        code_reads: codes that programs read, in all.
        splits: parts of the codebook.
        programs: that stand beside each other on a processor.
    """

    pairs: float
    code_reads: float
    splits: int
    programs: int = 1


def cut(case: Case, tiles: Tiles, resident: int, processors: int) -> Sweep:
    """A program takes a block of rows and, where blocks are fewer than processors, a part of the codes. Programs run in
    rounds of as many as there is room for, `resident` a processor; a round that is not full takes as long as a full
    one."""
    blocks, all_tiles = -(-case.rows // tiles.block_n), tiles.of(case)
    each = -(-all_tiles // min(all_tiles, max(1, processors // blocks)))
    splits = -(-all_tiles // each)
    return _in_rounds(blocks * splits, each, tiles, resident, processors)._replace(splits=splits)


def _in_rounds(programs: int, each: int, tiles: Tiles, resident: int, processors: int) -> Sweep:
    """Programs of `each` tiles of codes."""
    codes = each * tiles.block_k
    beside = max(1, min(resident, -(-programs // processors)))
    room = beside * processors
    return Sweep(-(-programs // room) * room * tiles.block_n * codes, programs * codes, 1, beside)


def whole_cut(case: Case, tiles: Tiles, resident: int, processors: int) -> Sweep:
    """Of a sweep of case.rows where each program meets all codes."""
    return _in_rounds(-(-case.rows // tiles.block_n), tiles.of(case), tiles, resident, processors)


def narrows(case: Case, tiles: Tiles) -> bool:
    """Whether rows that leave more open than a list holds are swept again, for the groups within their reach."""
    return scheme_for(case.dim).narrows(case.codes) and narrow_waves(case, tiles) <= NARROW_WAVES


def narrow_cut(case: Case, tiles: Tiles, resident: int, processors: int) -> Sweep:
    """Of such a sweep of case.rows: a program takes a block of rows and NARROW_TILES tiles of codes."""
    blocks, splits = -(-case.rows // tiles.block_n), -(-tiles.of(case) // NARROW_TILES)
    return _in_rounds(blocks * splits, NARROW_TILES, tiles, resident, processors)


def mask_bytes(case: Case, tiles: Tiles) -> int:
    """Of a row that is narrowed: a bit a group, in bytes or, where a tile has more groups than eight, in pairs."""
    return tiles.of(case) * (1 if tiles.block_k // tiles.group <= 8 else 2)


def narrow_waves(case: Case, tiles: Tiles) -> int:
    """In how many waves case.rows are narrowed, so that the masks of one stay small beside x."""
    beside_x = case.dim * BYTES[case.dtype] / NARROW_SHARE
    return ceil(mask_bytes(case, tiles) / beside_x)
