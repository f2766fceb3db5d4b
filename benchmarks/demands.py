"""What the kernels of a search, a training step and a Gaussian bottleneck ask of a GPU, counted for a case.

The instructions of an inner loop come from the record of compiled kernels; bytes from roofline.py, and from what the
search adds to them: the codes as columns of fp16, which every block of rows reads whole, through L2.
"""

from .cases import Case, LatentCase
from .cost_model import Demand
from .devices import Device
from .evidence import Again, Counts, Evidence, compared_again, counts, programs_a_processor
from .roofline import BYTES, latent_bytes, step_bytes
from .search_layout import Sweep, Tiles, cut, mask_bytes, narrow_cut, narrow_waves, narrows, search_tiles, whole_cut

# Assumed where the certificate's arithmetic is not recorded: rows that the sweep leaves open, with codes in one part
# (11 bits) and in three products (22 bits); and groups of codes that such a row is compared with.
_OPEN_ROWS, _GROUPS_OF_OPEN_ROW = {1: 0.05, 3: 0.003}, 2
# Launches beside the kernels proper, as tests/benchmarks/test_launches.py counts them: the loss of a step takes three
# (codes copied for the backward, error summed, weighed), its gradient two (filled, weighed), the statistics ten beside
# one kernel for the sums in chunks (cast, six of a radix sort of 16-bit keys, starts, two that join), the EMA one for
# its total. Where dead codes are replaced, one more notes with what.
_LOSS, _SCALES, _STATISTICS, _EMA = 3, 2, 10, 1
_BLOCK = 32  # rows of a program that settles, where there are many
_CHUNK = 32  # rows a chunk of the statistics: a 0/1 product in fp32, so many multiply-adds an element


def _again(case: Case, tiles: Tiles, evidence: Evidence) -> Again:
    """As recorded; assumed where it is not."""
    rows = _OPEN_ROWS[tiles.parts]
    assumed = Again(rows, rows * _GROUPS_OF_OPEN_ROW * tiles.group)
    return compared_again(evidence, case.rows, case.dim, case.codes, tiles.parts) or assumed


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
    compared = again.codes
    if sweep.splits > 1:  # what is narrowed elsewhere compares its slots in every tile of a part
        compared += again.narrowed * _GROUPS_OF_OPEN_ROW * tiles.of(case) / sweep.splits * tiles.group
    prepare = Demand(memory=4 * codes * dim + column_bytes * codes)
    swept = x
    if tiles.streamed:
        swept = rows * column_bytes
        prepare = prepare._replace(memory=prepare.memory + x + swept, launches=2)
    return {
        "prepare": prepare,
        **_second_sweep(case, device, evidence, round(rows * again.swept), sweep.splits),
        **_narrow(case, device, evidence, round(rows * again.narrowed), sweep.splits),
        "sweep": _swept(tiles, found, sweep)._replace(memory=swept + entries),
        "settle": Demand(
            memory=entries + (2 * x + 8 * rows if gathers else again.rows * (x + 8 * rows)),
            l2=compared * rows * 4 * dim,
        ),
    }


def _swept(tiles: Tiles, found: Counts, sweep: Sweep) -> Demand:
    """What products and comparisons of a sweep ask for, and the columns that its programs read."""
    row_reads = sweep.code_reads / tiles.block_k * tiles.block_n if tiles.streamed else 0.0
    return Demand(
        l2=2 * tiles.read * (sweep.code_reads + row_reads),
        flops=2 * tiles.depth * sweep.pairs,
        issued=found.issued * sweep.pairs,
        half=found.half * sweep.pairs,
        programs=sweep.programs,
    )


def _second_sweep(case: Case, device: Device, evidence: Evidence, rows: int, splits: int) -> dict[str, Demand]:
    """Of the rows that the first leaves open, where a configuration has one, a program with all codes; not where the
    codebook is split. Launched also for rows that are too few."""
    tiles = search_tiles(case.dim, device.target, again=True)
    found = counts(evidence, device.target, "nearest_code", case.dim, f"{case.dtype} rows again")
    if tiles is None or found is None or splits > 1:
        return {}
    columns = Demand(memory=2 * tiles.own * case.codes)
    if rows == 0:
        return {"second sweep": columns}
    sweep = whole_cut(case._replace(rows=rows), tiles, programs_a_processor(found, tiles.num_warps, device.shared),
                      device.processors)  # fmt: skip
    return {
        "second sweep": _swept(tiles, found, sweep)._replace(
            memory=columns.memory + rows * (case.dim * BYTES[case.dtype] + 4 + 8)
        )
    }


def _narrow(case: Case, device: Device, evidence: Evidence, rows: int, splits: int) -> dict[str, Demand]:
    """Of the rows that leave more open than a list holds, where the kernels narrow: a sweep that leaves a bit a group,
    and what reads the bits; the codes then compared are among those that settling counts. Not where the codebook is
    split. The device alone knows how many rows there are, so what has none is launched too."""
    tiles = search_tiles(case.dim, device.target)
    found = counts(evidence, device.target, "narrow", case.dim, f"{case.dtype} rows")
    if tiles is None or found is None or splits > 1 or not narrows(case, tiles):
        return {}
    resident = programs_a_processor(found, tiles.num_warps, device.shared)
    sweep = narrow_cut(case._replace(rows=rows), tiles, resident, device.processors)
    row = 2 * tiles.depth if tiles.streamed else case.dim * BYTES[case.dtype]
    return {
        "narrow": _swept(tiles, found, sweep)._replace(
            memory=rows * (row + 2 * (4 + 8 + mask_bytes(case, tiles))), launches=2 * narrow_waves(case, tiles)
        )
    }


def open_demands(case: Case, device: Device, evidence: Evidence) -> dict[str, Demand] | None:
    """A search of many rows of which none is certified, nor narrowed: each is swept as often as there are sweeps, and
    then compared with every code."""
    usual, every = search_demands(case, device, evidence), every_code_demands(case, device, evidence)
    if usual is None or every is None:
        return None
    swept = _second_sweep(case, device, evidence, case.rows, 1) | _narrow(case, device, evidence, case.rows, 1)
    return usual | swept | every


def every_code_demands(case: Case, device: Device, evidence: Evidence) -> dict[str, Demand] | None:
    """All rows compared exactly with all codes, 32 rows a program, by the kernel that settles."""
    found = counts(evidence, device.target, "settle", case.dim, f"{case.dtype} rows")
    if found is None:
        return None
    blocks, codes = -(-case.rows // _BLOCK), 4 * case.codes * case.dim
    pairs = blocks * _BLOCK * case.codes
    rows = case.rows * (case.dim * BYTES[case.dtype] + 8 + 8)
    return {"settle": Demand(rows + codes, blocks * codes, issued=found.issued * pairs, half=found.half * pairs)}


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
