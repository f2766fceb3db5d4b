"""What the kernels of a search, a training step and a Gaussian bottleneck ask of a GPU, counted for a case.

The instructions of an inner loop come from the record of compiled kernels; bytes from roofline.py, and from what the
search adds to them: the codes as columns of fp16, which every block of rows reads whole, through L2.
"""

from typing import NamedTuple

from .cases import Case, LatentCase
from .cost_model import Demand
from .devices import Device
from .evidence import Again, Evidence, compared_again, counts, programs_a_processor
from .roofline import BYTES, latent_bytes, step_bytes

# Assumed where the certificate's arithmetic is not recorded: rows that the sweep leaves open, with codes in one part
# (11 bits) and in three products (22 bits); and groups of codes that such a row is compared with.
_OPEN_ROWS, _GROUPS_OF_OPEN_ROW = {1: 0.05, 3: 0.003}, 2
# Launches beside the kernels proper, as tests/benchmarks/test_launches.py counts them: the loss of a step takes three
# (codes copied for the backward, error summed, weighed), its gradient two (filled, weighed), the statistics ten beside
# one kernel for the sums in chunks (cast, six of a radix sort of 16-bit keys, starts, two that join), the EMA one for
# its total. Where dead codes are replaced, one more notes with what.
_LOSS, _SCALES, _STATISTICS, _EMA = 3, 2, 10, 1
_SORT = 4  # launches of a sort beside its passes: places filled, counters cleared, digits counted and summed
_CHUNK = 32  # rows a chunk of the statistics: a 0/1 product in fp32, so many multiply-adds an element


class Tiles(NamedTuple):
    """How the search is laid out at a D: rows and codes of a tile, warps of a program; fp16 columns that the product is
    deep, bias and bounds among them; parts of a code; codes of a group; whether rows too are read as columns, anew for
    each tile of codes."""

    block_n: int
    block_k: int
    num_warps: int
    depth: int
    parts: int = 1
    group: int = 16
    streamed: bool = False


def search_tiles(dim: int, target: str, again: bool = False) -> Tiles | None:
    """What the kernels' own table says, of the first sweep or of the second, where there is one.

    Raises:
        ImportError: no Triton here, which the table needs.
    """
    from aevae_fast.kernels.code_columns import EXTRA
    from aevae_fast.kernels.configuration import search_config

    config = search_config(dim, target)
    if again:
        config = config.again
    if config is None:
        return None
    depth = config.columns + (0 if config.inline else EXTRA.value)
    sizes = (config.block_n, config.block_k, config.num_warps, depth, config.parts, config.group, config.streamed)
    return Tiles(*sizes)


class Sweep(NamedTuple):
    """How a search is cut.

    Attributes:
        pairs: of rows and codes that the device spends time on, padding and idle processors among them.
        code_reads: codes that programs read, in all.
        splits: parts of the codebook.
    """

    pairs: float
    code_reads: float
    splits: int


def cut(case: Case, tiles: Tiles, resident: int, processors: int) -> Sweep:
    """A program takes a block of rows and, where blocks are fewer than processors, a part of the codes. Programs run in
    rounds of as many as there is room for, `resident` a processor; a round that is not full takes as long as a full
    one."""
    room = resident * processors
    blocks, all_tiles = -(-case.rows // tiles.block_n), -(-case.codes // tiles.block_k)
    each = -(-all_tiles // min(all_tiles, max(1, processors // blocks)))
    splits = -(-all_tiles // each)
    rounds = -(-blocks * splits // room)
    codes = each * tiles.block_k
    return Sweep(rounds * room * tiles.block_n * codes, blocks * splits * codes, splits)


def _again(case: Case, tiles: Tiles, evidence: Evidence) -> Again:
    """As recorded; assumed where it is not."""
    rows = _OPEN_ROWS[tiles.parts]
    assumed = Again(rows, rows * _GROUPS_OF_OPEN_ROW * tiles.group)
    return compared_again(evidence, case.dim, case.codes, tiles.parts) or assumed


def search_demands(case: Case, device: Device, evidence: Evidence, gathers: bool = False) -> dict[str, Demand] | None:
    """prepare: codebook → columns; rows too, where they are streamed. sweep: tensor cores. settle: open rows again, in
    fp32, and with `gathers` the quantized vectors and the loss. None where no configuration of the search is recorded.
    """
    rows, dim, codes, dtype = case
    found = counts(evidence, device.target, "nearest_code", dim, f"{dtype} rows")
    if found is None:
        return None
    tiles, x = search_tiles(dim, device.target), rows * dim * BYTES[dtype]
    assert tiles is not None
    sweep = cut(case, tiles, programs_a_processor(found, tiles.num_warps, device.shared), device.processors)
    again, column_bytes = _again(case, tiles, evidence), 2 * tiles.depth
    entries = 8 * rows if sweep.splits == 1 else (8 + 4 + 4) * rows * sweep.splits  # and lowest and reach of each split
    prepare = Demand(memory=4 * codes * dim + column_bytes * codes)
    swept, row_reads = x, 0.0
    if tiles.streamed:
        swept = rows * column_bytes
        prepare = prepare._replace(memory=prepare.memory + x + swept, launches=2)
        row_reads = sweep.code_reads / tiles.block_k * tiles.block_n
    return {
        "prepare": prepare,
        **_second_sweep(case, device, evidence, round(rows * again.swept), sweep.splits),
        "sweep": Demand(
            memory=swept + entries,
            l2=column_bytes * (sweep.code_reads + row_reads),
            flops=column_bytes * sweep.pairs,
            issued=found.issued * sweep.pairs,
            half=found.half * sweep.pairs,
        ),
        "settle": Demand(
            memory=entries + (2 * x + 8 * rows if gathers else again.rows * (x + 8 * rows)),
            l2=again.codes * rows * 4 * dim,
        ),
    }


def _second_sweep(case: Case, device: Device, evidence: Evidence, rows: int, splits: int) -> dict[str, Demand]:
    """Of the rows that the first leaves open, where a configuration has one; not where the codebook is split."""
    tiles = search_tiles(case.dim, device.target, again=True)
    found = counts(evidence, device.target, "nearest_code", case.dim, f"{case.dtype} rows again")
    if tiles is None or found is None or splits > 1:
        return {}
    sweep = cut(case._replace(rows=max(1, rows)), tiles, programs_a_processor(found, tiles.num_warps, device.shared),
                device.processors)  # fmt: skip
    column_bytes = 2 * tiles.depth
    return {
        "second sweep": Demand(
            memory=rows * (case.dim * BYTES[case.dtype] + 4 + 8) + (4 * case.dim + column_bytes) * case.codes,
            l2=column_bytes * sweep.code_reads,
            flops=column_bytes * sweep.pairs,
            issued=found.issued * sweep.pairs,
            half=found.half * sweep.pairs,
            launches=2,  # its columns too
        )
    }


def step_demands(case: Case, device: Device, evidence: Evidence) -> dict[str, Demand] | None:
    """A training step: search with gather and loss, backward, statistics, EMA."""
    search = search_demands(case, device, evidence, gathers=True)
    if search is None:
        return None
    moved = step_bytes(case)
    return search | {
        "loss": Demand(memory=2 * 4 * case.codes * case.dim, launches=_LOSS),
        "backward": Demand(memory=moved["backward"], launches=1 + _SCALES),
        "statistics": Demand(
            memory=moved["statistics"] + _sort_bytes(case.codes) * case.rows,
            issued=_CHUNK * case.rows * case.dim,
            launches=1 + _STATISTICS + _sort_passes(case.codes) - 2,
        ),
        "EMA": Demand(memory=moved["EMA"], launches=1 + _EMA),
    }


def _sort_passes(codes: int) -> int:
    """Of a radix sort, 8 bits each: keys of 16 bits where they hold all codes and -1, else of 32."""
    return 2 if codes < 2**15 else 4


def _sort_bytes(codes: int) -> int:
    """A row: each pass of a stable sort reads and writes keys and 64-bit values."""
    passes = _sort_passes(codes)
    return passes * 2 * (passes + 8)


def latent_demands(case: LatentCase, device: Device, evidence: Evidence) -> dict[str, Demand] | None:
    """Sample and KL (the seed drawn, the KL summed and divided around it), and its backward (the KL's gradient
    divided), which writes the gradient of what the encoder gave as one tensor."""
    elements, moved = case.rows * case.dim, latent_bytes(case)
    demands = {}
    for part, kernel, beside in (("sample and KL", "", 3), ("backward", "_bwd", 1)):
        found = counts(evidence, device.target, f"reparameterize_kl{kernel}", case.dim, f"{case.dtype} chunk")
        if found is None:
            return None
        issued, half, special = (elements * each for each in found[:3])
        demands[part] = Demand(memory=moved[part], issued=issued, half=half, special=special, launches=1 + beside)
    return demands
