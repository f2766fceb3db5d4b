"""Blocks of rows on threads of their own, each with one thread inside its operations.

PyTorch's way, all threads inside each small operation, ends every operation with a barrier. Where another process keeps
one core busy each barrier waits for the scheduler, and a search of some hundred operations takes many times longer.
Here threads meet once, at the end, and a slow one takes fewer blocks.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

Block = TypeVar("Block")

# How many threads PyTorch uses is a setting of the process and of each of its threads. While blocks are being worked on
# it is 1 for threads that start, Python's own among them: `_usual` remembers what it was.
_lock, _inside, _usual = threading.Lock(), 0, 1


def on_threads(make_worker: Callable[[], Callable[[Block], None]], blocks: Sequence[Block], threads: int) -> None:
    """Call a worker on every block. `make_worker` is called once per thread, for what a thread owns. With one thread,
    or few blocks, operations use PyTorch's threads as usual."""
    inference = torch.is_inference_mode_enabled()
    waiting = iter(blocks)  # shared: a list's iterator hands out each item once

    def run() -> None:
        with torch.inference_mode() if inference else torch.no_grad():
            worker = make_worker()
            for block in waiting:
                worker(block)

    if threads == 1 or len(blocks) < 2 * threads:
        run()
        return
    with one_thread_each(), ThreadPoolExecutor(threads) as pool:  # made anew: threads do not outlive a fork
        for done in [pool.submit(run) for _ in range(threads)]:
            done.result()


def threads_for(x: Tensor) -> int:
    """As many as PyTorch would take on a CPU; on another device one, whose work queues up there."""
    if x.device.type != "cpu":
        return 1
    with _lock:
        return _usual if _inside else torch.get_num_threads()


@contextmanager
def one_thread_each() -> Iterator[None]:
    """One thread inside each operation, of threads that start now and of the BLAS; as it was afterwards. Also for what
    comes just before `on_threads`: the threads of an operation spin on for milliseconds, on the cores that are needed.
    """
    global _inside, _usual
    with _lock:
        _usual = _usual if _inside else torch.get_num_threads()
        _inside += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            torch.set_num_threads(_usual)
