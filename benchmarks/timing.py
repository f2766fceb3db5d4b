"""Time several calls beside each other: A B C A B C …, so that a machine's ups and downs hit all alike."""

import gc
import statistics
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch

Result = TypeVar("Result")

_L2_FLUSH_BYTES = 256 << 20  # more than any L2; writing it also takes longer than launching what follows


class Budget(NamedTuple):
    """How long to go on: at most `repeats` rounds, at least `least`, and between them `seconds` in all."""

    repeats: int
    least: int
    seconds: float


BUDGETS = {"cpu": Budget(60, 3, 12.0), "cuda": Budget(60, 50, 3.0), "smoke": Budget(2, 2, 1.0)}
SWEEP_BUDGETS = {"cpu": Budget(15, 3, 1.0), "cuda": Budget(30, 20, 1.0), "smoke": BUDGETS["smoke"]}  # of many cases


class Spread(NamedTuple):
    """Seconds: the median and how far repeats stray from it."""

    median: float
    p20: float
    p80: float
    repeats: int


def spread(samples: list[float]) -> Spread:
    ordered = sorted(samples)
    last = len(ordered) - 1
    return Spread(statistics.median(ordered), ordered[round(0.2 * last)], ordered[round(0.8 * last)], len(ordered))


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Median of ours over median of theirs, over the rounds that both took part in."""
    rounds = min(len(ours), len(theirs))
    return statistics.median(ours[:rounds]) / statistics.median(theirs[:rounds])


def interleave(calls: dict[str, Callable[[], Any]], device: torch.device, budget: Budget) -> dict[str, list[float]]:
    """Seconds of each call, round by round. A call that has used its share of the time after the least number of rounds
    drops out of later ones, so a slow peer does not cost the fast ones their repeats."""
    measure = cuda_seconds if device.type == "cuda" else wall_seconds
    for call in calls.values():
        for _ in range(3 if device.type == "cuda" else 1):
            call()
    samples: dict[str, list[float]] = {name: [] for name in calls}
    share = budget.seconds / len(calls)
    with _no_garbage_collection():
        for done in range(budget.repeats):
            going_on = [name for name in calls if done < budget.least or sum(samples[name]) < share]
            if not going_on:
                break
            for name in going_on:
                samples[name].append(measure(calls[name]))
    return samples


def wall_seconds(call: Callable[[], Any]) -> float:
    """By the wall clock, until the device is done."""
    start = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def cuda_seconds(call: Callable[[], Any]) -> float:
    """On the device, from CUDA events, with a cold L2. The flush keeps the device busy while the host launches the
    call, so launch overhead shows only where it outlasts the flush."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    _flush_buffer().zero_()
    start.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3


_buffers: list[torch.Tensor] = []


def _flush_buffer() -> torch.Tensor:
    if not _buffers:
        _buffers.append(torch.empty(_L2_FLUSH_BYTES, dtype=torch.int8, device="cuda"))
    return _buffers[0]


def capture(call: Callable[[], Result]) -> tuple[torch.cuda.CUDAGraph, Result]:
    """The graph of a call, and the tensors that each replay fills; the call has run three times before, on a stream
    aside, as PyTorch asks. A replay costs one launch, however many kernels the call has."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = call()
    return graph, result


@contextmanager
def _no_garbage_collection() -> Any:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
