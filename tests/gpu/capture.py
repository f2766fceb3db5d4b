"""A step as a CUDA graph."""

from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


def capture(step: Callable[[], Result]) -> tuple[torch.cuda.CUDAGraph, Result]:
    """The graph of a step, and the tensors that each replay fills; the step has run three times before, on a stream
    aside, as PyTorch asks."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = step()
    return graph, result
