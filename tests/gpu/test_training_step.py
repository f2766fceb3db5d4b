"""A training step on the device: it never waits for the host, can be captured and compiled, and repeats bit for bit."""

import pytest
import torch
from torch import Tensor, nn

from aevae_fast import VectorQuantize, functional, update_codebooks
from benchmarks.timing import capture

from . import CUDA, NEEDS_CUDA

pytestmark = NEEDS_CUDA

_DIM, _CODES, _ROWS = 64, 1024, 16384


def make_layer(**options: object) -> VectorQuantize:
    torch.manual_seed(0)
    return VectorQuantize(_DIM, _CODES, **options).to(CUDA)  # type: ignore[arg-type]


@pytest.mark.usefixtures("forbid_waiting")
@pytest.mark.parametrize("options", [{}, {"kmeans_init": True}, {"use_cosine_sim": True}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_never_waits_for_the_device(options: dict[str, bool], dtype: torch.dtype) -> None:
    images = torch.randn(4, 16, 64, 64, device=CUDA)
    for debug_mode in ("default", "error"):  # the first round compiles the kernels
        encoder = nn.Conv2d(16, _DIM, 1).to(CUDA)
        layer = make_layer(channel_last=False, **options)
        optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode(debug_mode)
        for _ in range(2):
            with torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):
                quantized, _, loss = layer(encoder(images))
            (quantized.float().square().mean() + loss).backward()
            optimizer.step()
            optimizer.zero_grad()
    torch.cuda.set_sync_debug_mode("default")
    assert layer._codebook.steps == 2


def test_captured_step_does_what_the_eager_one_does() -> None:
    torch.manual_seed(1)
    x = torch.randn(_ROWS, _DIM, device=CUDA, requires_grad=True)
    eager, captured = make_layer(), make_layer()
    start = {name: value.clone() for name, value in captured.state_dict().items()}

    def train(layer: VectorQuantize) -> None:
        quantized, _, loss = layer(x)
        x.grad = None
        (quantized.square().mean() + loss).backward()
        update_codebooks()

    graph, _ = capture(lambda: train(captured))
    captured.load_state_dict(start)
    for _ in range(5):
        graph.replay()
        train(eager)
    torch.cuda.synchronize()
    for name, value in eager.state_dict().items():
        assert torch.equal(captured.state_dict()[name], value), name


def test_compiles_to_one_graph() -> None:
    torch.manual_seed(1)
    x = torch.randn(_ROWS, _DIM, device=CUDA, requires_grad=True)
    eager, compiled = make_layer(), make_layer()
    run = torch.compile(compiled, fullgraph=True)
    for _ in range(2):
        results = []
        for layer, call in ((eager, eager), (compiled, run)):
            quantized, indices, loss = call(x)
            x.grad = None
            (quantized.square().mean() + loss).backward()
            assert x.grad is not None
            update_codebooks()
            results.append((quantized.detach(), indices, loss.detach(), x.grad, layer.codebook.clone()))
        for ours, expected in zip(*results, strict=True):
            torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("codes", [1, 1024, 16384])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_two_runs_agree_bit_for_bit(codes: int, dtype: torch.dtype) -> None:
    """Half of the rows choose one code, which is where atomics in changing order would show."""
    torch.manual_seed(0)
    codebook = torch.randn(codes, _DIM, device=CUDA)
    x = torch.randn(65536, _DIM, device=CUDA)
    x[::2] = codebook[0] + 0.01 * x[::2]
    x = x.to(dtype).requires_grad_()

    def run() -> tuple[Tensor, ...]:
        leaf = codebook.clone().requires_grad_()
        quantized, indices, loss = functional.vector_quantize(x, leaf)
        gradients = torch.autograd.grad(quantized.float().square().sum() + loss, (x, leaf))
        return quantized, indices, loss, *gradients, *functional.codebook_statistics(x, indices, codes)

    first = run()
    for _ in range(4):
        for ours, expected in zip(run(), first, strict=True):
            assert torch.equal(ours, expected)
