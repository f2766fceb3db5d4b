"""Sizes past 2³¹ elements, and memory that does not grow with N·K."""

import pytest
import torch
from torch import Tensor

from aevae_fast import functional, reference

from . import CUDA, NEEDS_CUDA

pytestmark = NEEDS_CUDA

_ROWS, _DIM = (1 << 25) + 1000, 64  # 2³¹ elements and some more
_EDGE = 1000


@pytest.fixture
def room() -> None:
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    if free < 30 << 30:
        pytest.skip(f"needs 30 GiB of free device memory; there are {free / 2**30:.0f}")


def edges(rows: Tensor) -> Tensor:
    """First and last rows: a 32-bit offset wraps to somewhere else in the last ones."""
    return torch.cat([rows[:_EDGE], rows[-_EDGE:]])


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize("channel_first", [False, True], ids=["rows", "channel-first"])
def test_more_than_2_to_the_31_elements(channel_first: bool) -> None:
    torch.manual_seed(0)
    shape = (1, _DIM, _ROWS) if channel_first else (_ROWS, _DIM)
    x = torch.empty(shape, dtype=torch.bfloat16, device=CUDA).normal_().requires_grad_()
    dim = 1 if channel_first else -1
    codebook = torch.randn(16, _DIM, device=CUDA)
    quantized, indices, loss = functional.vector_quantize(x, codebook, dim=dim)
    expected = reference.nearest_code(edges(x.detach().movedim(dim, -1).flatten(0, -2)), codebook)
    assert torch.equal(edges(indices.flatten()), expected)
    assert torch.equal(edges(quantized.detach().movedim(dim, -1).flatten(0, -2)), codebook[expected].bfloat16())
    del quantized
    counts, sums = functional.codebook_statistics(x, indices, 16, dim=dim)
    assert counts.sum() == _ROWS
    assert sums.isfinite().all()
    loss.backward()
    assert x.grad is not None
    last = x.detach().movedim(dim, -1).flatten(0, -2)[-_EDGE:].double() - codebook[expected[_EDGE:]]
    gradient = x.grad.movedim(dim, -1).flatten(0, -2)[-_EDGE:]
    torch.testing.assert_close(gradient.double(), last * (2 * 0.25 / x.numel()), rtol=2**-7, atol=1e-13)


def test_search_holds_nothing_of_size_n_times_k() -> None:
    x, codebook = torch.randn(65536, 256, device=CUDA), torch.randn(16384, 256, device=CUDA)
    functional.nearest_code(x, codebook)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    functional.nearest_code(x, codebook)
    torch.cuda.synchronize()
    assert torch.cuda.max_memory_allocated() - before < 64 << 20
