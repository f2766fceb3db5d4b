"""Nearest code in bounded memory, exact, in plain PyTorch: the CPU path. How: `_search.py`.

Specification: `aevae_fast.reference.nearest_code`.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ._product import full_precision
from ._resolve import few_rows, resolve
from ._rows import row_blocks
from ._search import Workspace, block_rows, load_rows, prepare, search
from ._threads import on_threads, threads_for


def nearest_code(x: Tensor, codebook: Tensor, metric: str) -> Tensor:
    """x [B, S, D] float16, bfloat16 or float32, codebook [K, D] float32 → indices [B, S] int64; -1 for a row that is
    not finite. Any strides. Extra memory: the prepared codebook and a few tens of MB, whatever N."""
    codes = prepare(codebook, metric, x.shape[0] * x.shape[1])
    threads = threads_for(x)
    rows = block_rows(codes, threads)
    indices = torch.empty(x.shape[:2], dtype=torch.int64, device=x.device)
    certified = torch.empty(x.shape[:2], dtype=torch.bool, device=x.device)

    def make_worker() -> Callable[[tuple[slice, slice]], None]:
        workspace = Workspace(codes, rows)
        passed_over = due = 0  # blocks that go to the exact comparison unseen: since the last look, and before the next

        def work(block: tuple[slice, slice]) -> None:
            nonlocal passed_over, due
            if passed_over < due:
                passed_over += 1
                certified[block] = False
                return
            part = x[block]
            loaded = load_rows(part, codes, workspace)
            index, alone = search(loaded, codes, workspace)
            indices[block], certified[block] = index.view(part.shape[:2]), alone.view(part.shape[:2])
            passed_over, due = 0, 2 * due + 1 if _in_vain(loaded, alone) else 0

        return work

    def settle(place: Tensor) -> None:
        batch, row = place.unbind(1)
        indices[batch, row] = resolve(x[batch, row].float(), codebook, codes, metric)

    with full_precision(x.device):
        on_threads(make_worker, list(row_blocks(x, rows)), threads)
        doubtful = torch.nonzero(~certified)
        on_threads(lambda: settle, doubtful.split(few_rows(codes, threads)), threads)
    return indices


def _in_vain(rows: Tensor, alone: Tensor) -> bool:
    """Whether the search has left three of four rows open, as between clusters that no shift centres: then it only adds
    to the time of the exact comparison, and what comes next is spared it; twice as much each time, so that little goes
    astray where one block is unlike the others. Rows of zeros and those that are not finite cost no comparison."""
    if rows.device.type != "cpu" or 4 * int(alone.sum()) >= len(alone):
        return False
    length = rows[:, -1]
    return 4 * int(((length > 0) & (length < torch.inf) & ~alone).sum()) > 3 * len(alone)
