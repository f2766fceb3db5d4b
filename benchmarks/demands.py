"""What the kernels of a search, a training step and a Gaussian bottleneck ask of a GPU, counted for a case.

The instructions of an inner loop come from the record of compiled kernels; bytes from roofline.py, and from what the
search adds to them: the codes as columns of fp16, which every block of rows reads whole, through L2.
"""

from typing import NamedTuple

from .cases import Case, LatentCase
from .cost_model import Demand
from .devices import Device
from .instruction_counts import Report, counts, programs_a_processor
from .roofline import BYTES, latent_bytes, step_bytes

# Assumed, as records of time do not show it: rows that the sweep leaves open, where codes are in one part (11 bits) and
# in three products (22 bits); and the codes that such a row is compared with in fp32, two groups of sixteen.
OPEN_SHARE, OPEN_SHARE_IN_PARTS = 0.05, 0.003
CODES_OF_OPEN_ROW = 32
# Launches beside the kernels proper, counted in the operations that PyTorch is asked for: the loss of a step takes four
# (error summed, weighed; two buffers filled), its gradient three (two weights, a buffer filled), the statistics twelve
# beside one kernel for the sums in chunks (cast, eight of a radix sort, range, search, two that join), the EMA nine.
_LOSS, _SCALES, _STATISTICS, _EMA = 4, 3, 13, 9
# A stable sort of 32-bit keys with 64-bit values: four passes that read and write both.
_SORT_BYTES = 4 * 2 * (4 + 8)
_CHUNK = 32  # rows a chunk of the statistics: a 0/1 product in fp32, so many multiply-adds an element


class Tiles(NamedTuple):
    """Rows and codes of a tile of the search, and warps of a program."""

    block_n: int
    block_k: int
    num_warps: int


def search_tiles(dim: int, target: str) -> Tiles:
    """The tiles of the search at that D on that target: what `search_config` of the kernels will say, without needing
    Triton to say it."""
    return Tiles(128, 128 if dim > 128 else 256, 8) if target == "sm_90" else Tiles(128, 128, 8)


def columns(dim: int) -> int:
    """Depth of the product: up to 16 dimensions three parts and the bounds share 32 or 64 columns; up to 256 one part
    is padded to a power of two, above to a multiple of 64, and 16 columns of bias and bounds stand beside it."""
    if dim <= 16:
        return 32 if dim <= 8 else 64
    return 16 + (1 << (dim - 1).bit_length() if dim <= 256 else -(-dim // 64) * 64)


class Sweep(NamedTuple):
    """How a search is cut: pairs of rows and codes that the device spends time on, padding and idle processors among
    them, and how often a code's columns are read."""

    pairs: float
    code_reads: float


def cut(case: Case, tiles: Tiles, resident: int, processors: int) -> Sweep:
    """A program takes a block of rows and, where blocks are fewer than the device has room for, a part of the codes.
    Programs run in rounds of as many as there is room for; a round that is not full takes as long as a full one."""
    room = resident * processors
    blocks, all_tiles = -(-case.rows // tiles.block_n), -(-case.codes // tiles.block_k)
    splits = max(1, min(all_tiles, room // blocks))
    each = -(-all_tiles // splits) * tiles.block_k
    rounds = -(-blocks * splits // room)
    return Sweep(rounds * room * tiles.block_n * each, blocks * splits * each)


def search_demands(case: Case, device: Device, report: Report, gathers: bool = False) -> dict[str, Demand] | None:
    """prepare: codebook → columns. sweep: tensor cores. settle: open rows again, in fp32, and with `gathers` the
    quantized vectors and the loss. None where no configuration of the search is in the record."""
    rows, dim, codes, dtype = case
    found = counts(report, device.target, "nearest_code", dim, f"{dtype} rows")
    if found is None:
        return None
    tiles, depth, x = search_tiles(dim, device.target), columns(dim), rows * dim * BYTES[dtype]
    sweep = cut(case, tiles, programs_a_processor(found, tiles.num_warps, device.shared), device.processors)
    opened = rows * (OPEN_SHARE_IN_PARTS if dim <= 16 else OPEN_SHARE)
    return {
        "prepare": Demand(memory=4 * codes * dim + 2 * codes * depth),
        "sweep": Demand(
            memory=x + 8 * rows,
            l2=2 * depth * sweep.code_reads,
            flops=2 * depth * sweep.pairs,
            issued=found.issued * sweep.pairs,
            half=found.half * sweep.pairs,
        ),
        "settle": Demand(
            memory=8 * rows + (2 * x if gathers else opened * (dim * BYTES[dtype] + 8)),
            l2=opened * CODES_OF_OPEN_ROW * 4 * dim,
        ),
    }


def step_demands(case: Case, device: Device, report: Report) -> dict[str, Demand] | None:
    """A training step: search with gather and loss, backward, statistics, EMA."""
    search = search_demands(case, device, report, gathers=True)
    if search is None:
        return None
    moved = step_bytes(case)
    return search | {
        "loss": Demand(launches=_LOSS),
        "backward": Demand(memory=moved["backward"], launches=1 + _SCALES),
        "statistics": Demand(
            memory=moved["statistics"] + _SORT_BYTES * case.rows,
            issued=_CHUNK * case.rows * case.dim,
            launches=1 + _STATISTICS,
        ),
        "EMA": Demand(memory=moved["EMA"], launches=1 + _EMA),
    }


def latent_demands(case: LatentCase, device: Device, report: Report) -> dict[str, Demand] | None:
    """Sample and KL (the seed drawn, the KL summed and divided around it), its backward, and the two gradients joined
    into one of what the encoder gave: read and written once more."""
    elements, moved = case.rows * case.dim, latent_bytes(case)
    demands = {}
    for part, kernel, beside in (("sample and KL", "", 3), ("backward", "_bwd", 1)):
        found = counts(report, device.target, f"reparameterize_kl{kernel}", case.dim, f"{case.dtype} chunk")
        if found is None:
            return None
        issued, half, special = (elements * each for each in found[:3])
        demands[part] = Demand(memory=moved[part], issued=issued, half=half, special=special, launches=1 + beside)
    return demands | {"joining": Demand(memory=4 * elements * BYTES[case.dtype])}
