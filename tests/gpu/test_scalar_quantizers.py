"""The scalar quantizers on the device: right, without waiting for the host, captured, and the same twice."""

import pytest
import torch
from torch import Tensor, nn

from aevae_fast import functional
from benchmarks.timing import capture

from ..quantizers.scalar_layers import LAYERS
from . import CUDA, NEEDS_CUDA

pytestmark = [*NEEDS_CUDA, pytest.mark.parametrize("name", LAYERS)]


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return LAYERS[name](channel_first=True).to(CUDA)


def step(layer: nn.Module, x: Tensor, upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """indices, the loss and the gradient of x."""
    quantized, indices, *losses = layer(x)
    loss = (quantized * upstream).sum() + sum(part.sum() for part in losses)
    return indices, loss.detach(), torch.autograd.grad(loss, x)[0]


def draw() -> tuple[Tensor, Tensor]:
    generator = torch.Generator(CUDA).manual_seed(1)
    x, upstream = (torch.randn(4, 6, 50, 70, generator=generator, device=CUDA) for _ in range(2))
    return x.requires_grad_(), upstream


def test_agrees_with_the_cpu(name: str) -> None:
    layer, (x, upstream) = build(name), draw()
    indices, loss, grad = step(layer, x, upstream)
    other = step(build(name).cpu(), x.detach().cpu().requires_grad_(), upstream.cpu())
    # A projection differs by rounding, and what it moves over a boundary changes its row.
    assert (indices.cpu() == other[0]).float().mean() > 0.999
    torch.testing.assert_close(loss.cpu(), other[1], rtol=1e-3, atol=1e-3)
    assert ((grad.cpu() - other[2]).abs() > 1e-3).float().mean() < 1e-3


@pytest.mark.usefixtures("forbid_waiting")
def test_never_waits_for_the_device(name: str) -> None:
    layer, (x, upstream) = build(name), draw()
    for debug_mode in ("default", "error"):  # the first round compiles the kernels
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode(debug_mode)
        step(layer, x, upstream)
    torch.cuda.set_sync_debug_mode("default")


def test_a_captured_step_does_what_the_eager_one_does(name: str) -> None:
    layer, (x, upstream) = build(name), draw()
    graph, captured = capture(lambda: step(layer, x, upstream))
    with torch.no_grad():
        x.copy_(torch.randn_like(x))
    graph.replay()
    for mine, theirs in zip(captured, step(layer, x, upstream), strict=True):
        assert torch.equal(mine, theirs)


def test_two_runs_agree_bit_for_bit(name: str) -> None:
    layer, (x, upstream) = build(name), draw()
    torch.use_deterministic_algorithms(True)
    try:
        first, second = step(layer, x, upstream), step(layer, x, upstream)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_large_batches_of_many_bits(name: str) -> None:
    """18 bits of a million vectors: a fraction of a gigabyte, where all codes written out would be a terabyte."""
    if name != "LFQ":
        pytest.skip("one layer is enough")
    x = torch.randn(1 << 20, 18, device=CUDA, requires_grad=True)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    found = functional.lookup_free_quantize(x)
    (found.per_sample_entropy - found.batch_entropy).backward()
    assert torch.cuda.max_memory_allocated() - before < 1 << 30
    assert found.indices.max() < 2**18
