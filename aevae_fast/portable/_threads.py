"""Blocks of rows on threads of their own, each with one thread inside its operations.

PyTorch's way, all threads inside each small operation, ends every operation with a barrier. Where another process keeps
one core busy each barrier waits for the scheduler, and a search of some hundred operations takes many times longer.
Here threads meet once, at the end, and a slow one takes fewer blocks.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

Block = TypeVar("Block")


def on_threads(make_worker: Callable[[], Callable[[Block], None]], blocks: Sequence[Block], threads: int) -> None:
    """Call a worker on every block. `make_worker` is called once per thread, for what a thread owns. With one thread,
    or few blocks, operations use PyTorch's threads as usual."""
    usual, inference = torch.get_num_threads(), torch.is_inference_mode_enabled()
    waiting = iter(blocks)  # shared: a list's iterator hands out each item once

    def run() -> None:
        with torch.inference_mode() if inference else torch.no_grad():
            worker = make_worker()
            for block in waiting:
                worker(block)

    if threads == 1 or len(blocks) < 2 * threads:
        run()
        return
    torch.set_num_threads(1)  # of threads that start now, and of the BLAS; put back below
    try:
        with ThreadPoolExecutor(threads) as pool:  # made anew: threads do not outlive a fork
            for done in [pool.submit(run) for _ in range(threads)]:
                done.result()
    finally:
        torch.set_num_threads(usual)


def threads_for(x: Tensor) -> int:
    """As many as PyTorch would take on a CPU; on another device one, whose work queues up there."""
    return torch.get_num_threads() if x.device.type == "cpu" else 1
