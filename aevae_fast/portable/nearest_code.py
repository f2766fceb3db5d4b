"""Nearest code in bounded memory, exact, in plain PyTorch: the CPU path. How: `_search.py`.

Specification: `aevae_fast.reference.nearest_code`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ._product import full_precision
from ._resolve import few_rows, resolve, resolving_threads
from ._rows import row_blocks
from ._search import Codes, Workspace, block_rows, load_rows, prepare, search
from ._threads import on_threads, one_thread_each, threads_for

_SAMPLE = 64  # rows that tell whether to search
_OPEN = 1 << 20  # rows among which those left open are listed at a time, 16 bytes each


def nearest_code(x: Tensor, codebook: Tensor, metric: str) -> Tensor:
    """x [B, S, D] float16, bfloat16 or float32, codebook [K, D] float32 → indices [B, S] int64; -1 for a row that is
    not finite. Any strides. Extra memory: the prepared codebook, a few tens of MB and a byte a row."""
    codes = prepare(codebook, metric, x.shape[0] * x.shape[1])
    threads = threads_for(x)
    rows = block_rows(codes, threads)
    indices = torch.empty(x.shape[:2], dtype=torch.int64, device=x.device)
    certified = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)

    def make_worker() -> Callable[[tuple[slice, slice]], None]:
        workspace = Workspace(codes, rows)

        def work(block: tuple[slice, slice]) -> None:
            part = x[block]
            index, alone = search(load_rows(part, codes, workspace), codes, workspace)
            indices[block], certified[block] = index.view(part.shape[:2]), alone.view(part.shape[:2])

        return work

    def settle(place: Tensor) -> None:
        batch, row = place.unbind(1)
        indices[batch, row] = resolve(x[batch, row].float(), codebook, codes, metric)

    with full_precision(x.device):
        if not _in_vain(x, codes):
            on_threads(make_worker, list(row_blocks(x, rows)), threads)
        for batch, inner in row_blocks(x, _OPEN):
            doubtful = torch.nonzero(~certified[batch, inner]) + torch.tensor(
                [batch.start, inner.start], device=x.device
            )
            pieces = doubtful.split(few_rows(codes, metric, threads))
            on_threads(lambda: settle, pieces, resolving_threads(codes, metric, threads))
    return indices


@torch.no_grad()
@one_thread_each()
def _in_vain(x: Tensor, codes: Codes) -> bool:
    """Whether the search would leave half of the rows open, as between clusters that no shift centres, by a sample of
    them: then it takes longer than what it saves of the exact comparison. Rows of zeros and those that are not finite
    cost no comparison."""
    total = x.shape[0] * x.shape[1]
    if x.device.type != "cpu" or total < 8 * _SAMPLE:
        return False
    place = torch.arange(_SAMPLE) * total // _SAMPLE
    rows = x[place // x.shape[1], place % x.shape[1]]
    workspace = Workspace(codes, _SAMPLE)
    rows = load_rows(rows[None], codes, workspace)
    _, alone = search(rows, codes, workspace)
    length = rows[:, -1]
    return 2 * int(((length > 0) & (length < torch.inf) & ~alone).sum()) > _SAMPLE
