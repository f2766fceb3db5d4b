"""Look for faster configurations of the search on the GPU at hand, and write them to a table.

    python -m benchmarks.tune --out table.json [--dims 64 256] [--rows 65536] [--codes 1024 16384]
    AEVAE_FAST_CONFIGURATIONS=table.json python …       uses it

For each D every tile of a grid around the built-in table is compiled, held against the built-in one's indices, and
timed beside it, interleaved; the table takes the one with the least product of times over the numbers of codes, where
it is more than 2% faster. Minutes a dimension, most of it compilation. Nothing is tuned unless this is run.
"""

import argparse
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from aevae_fast.cli._verdict import wrong_indices
from aevae_fast.kernels import configuration, nearest_code
from aevae_fast.kernels.configuration import SearchConfig, Tile

from .timing import Budget, interleave, spread

DIMENSIONS = (8, 16, 32, 64, 128, 256, 512)
GAIN = 0.98  # of the built-in time, that a tile must beat
BUDGET = Budget(repeats=30, least=10, seconds=0.5)


def candidates(dimension: int, arch: str) -> Iterator[Tile]:
    """Tiles worth a try: the built-in one first."""
    usual = tile_of(configuration.search_config(dimension, arch))
    yield usual
    lanes = 2 if arch.startswith("gfx") else 4
    for block_n, block_k, warps, stages, steps, block_d in itertools.product(
        (64, 128, 256), (64, 128, 256), (4, 8), (2, 3, 4), (8, 16) if lanes == 4 else (4,), (0, 64)
    ):
        tile = Tile(block_n, block_k, block_d, steps, warps, stages)
        # As many scores a thread as registers can hold, and blocks of groups that divide a tile in 1, 2 or 4.
        fits = 16 <= block_n * block_k // (32 * warps) <= 128 and block_k // (8 * steps) in (1, 2, 4)
        if fits and (dimension > 64 or not block_d) and (dimension <= 256 or block_d) and tile != usual:
            yield tile


def tile_of(config: SearchConfig) -> Tile:
    block_d = config.block_d if config.streamed else 0
    return Tile(config.block_n, config.block_k, block_d, config.group_steps, config.num_warps, config.num_stages)


def fastest(tiles: Iterable[Tile], product_of_times: Callable[[Tile], float | None]) -> Tile:
    """The first tile, unless another is faster by more than GAIN; None is a tile that does not run."""
    usual, *others = tiles
    found, least = usual, 1.0
    for tile in others:
        ratio = product_of_times(tile)
        if ratio is not None and ratio < min(least, GAIN):
            found, least = tile, ratio
    return found


def searched(x: Tensor, codebook: Tensor, tile: Tile, arch: str) -> Tensor:
    """Indices that a tile finds."""
    config = configuration.layout(x.shape[-1], tile, arch)
    return nearest_code.nearest_code(x, codebook, config=config)


def measured(tile: Tile, usual: Tile, cases: list[tuple[Tensor, Tensor]], arch: str) -> float | None:
    """Geometric mean over cases of this tile's time over the usual one's; None where it does not run, or is wrong."""
    ratios = []
    for x, codebook in cases:
        try:
            found, best = searched(x, codebook, tile, arch)[0], searched(x, codebook, usual, arch)[0]
            differ = found != best
            if wrong_indices(x[0][differ], codebook, found[differ], best[differ], "euclidean").any():
                return None
        except Exception as error:  # out of shared memory, or of registers: which, depends on the compiler
            print(f"  {tuple(tile)}: {type(error).__name__}", flush=True)
            return None
        calls = {name: partial(searched, x, codebook, each, arch) for name, each in (("tile", tile), ("usual", usual))}
        samples = interleave(calls, x.device, BUDGET)
        ratios.append(spread(samples["tile"]).median / spread(samples["usual"]).median)
    ratio = math.prod(ratios) ** (1 / len(ratios))
    print(f"  {tuple(tile)}: {ratio:.3f}", flush=True)
    return ratio


def tuned(dimensions: Iterable[int], rows: int, codes: list[int], device: torch.device) -> dict[str, dict[int, Tile]]:
    """A table for this device: each tile serves every D up to its own, the last all above."""
    arch = configuration.architecture(device)
    table = {}
    generator = torch.Generator(device).manual_seed(0)
    for dimension in dimensions:
        print(f"D = {dimension}", flush=True)
        x = torch.randn(1, rows, dimension, generator=generator, device=device)
        cases = [(x, torch.randn(size, dimension, generator=generator, device=device)) for size in codes]
        tiles = list(candidates(dimension, arch))
        table[dimension] = fastest(tiles, lambda tile: measured(tile, tiles[0], cases, arch))  # noqa: B023
    if max(table) > 256:
        table[2**31] = table.pop(max(table))
    return {arch: table}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dims", type=int, nargs="+", default=DIMENSIONS)
    parser.add_argument("--rows", type=int, default=65536)
    parser.add_argument("--codes", type=int, nargs="+", default=[1024, 16384])
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("No CUDA device here: PyTorch finds none. Configurations are tuned by measuring.", file=sys.stderr)
        return 1
    table = tuned(sorted(options.dims), options.rows, options.codes, torch.device("cuda"))
    # Beside those of D that were not tuned, as a table takes the place of the built-in one.
    table = {arch: {**configuration.TABLE[configuration.family(arch)], **tiles} for arch, tiles in table.items()}
    text = {arch: {most: tile._asdict() for most, tile in sorted(tiles.items())} for arch, tiles in table.items()}
    options.out.write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")
    print(f"{options.out}: set {configuration.VARIABLE} to it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
