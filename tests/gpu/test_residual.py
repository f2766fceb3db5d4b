"""Residual quantization on the device: the CPU's codes, a step that never waits and can be captured, the same twice."""

import pytest
import torch
from torch import Tensor

from aevae_fast import ResidualVQ, functional, update_codebooks
from benchmarks.timing import capture

from . import CUDA, NEEDS_CUDA

pytestmark = NEEDS_CUDA

_SIZES = (1024, 300, 64)


def draw(dim: int, dtype: torch.dtype, rows: int = 20011) -> tuple[Tensor, list[Tensor]]:
    generator = torch.Generator(CUDA).manual_seed(0)
    x = torch.randn(rows, dim, generator=generator, device=CUDA)
    books = [torch.randn(size, dim, generator=generator, device=CUDA) / 2**q for q, size in enumerate(_SIZES)]
    return x.to(dtype).requires_grad_(), [book.requires_grad_() for book in books]


def step(x: Tensor, books: list[Tensor]) -> tuple[Tensor, ...]:
    quantized, indices, losses = functional.residual_vector_quantize(x, books)
    gradients = torch.autograd.grad(quantized.float().square().sum() + losses.sum(), (x, *books))
    return quantized.detach(), indices, losses.detach(), *gradients


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("dim", [1, 8, 33, 64, 128, 256])
def test_agrees_with_the_cpu(dim: int, dtype: torch.dtype) -> None:
    """Each index is exact for what the stages before left, so that a tie within rounding is all that differs."""
    x, books = draw(dim, dtype)
    found = step(x, books)
    expected = step(x.detach().cpu().requires_grad_(), [book.detach().cpu().requires_grad_() for book in books])
    agree = (found[1].cpu() == expected[1]).all(-1)
    assert agree.float().mean() > 0.9999
    assert torch.equal(found[0].cpu()[agree], expected[0][agree])
    torch.testing.assert_close(found[2].cpu(), expected[2], rtol=1e-4, atol=0)
    torch.testing.assert_close(found[3].cpu()[agree], expected[3][agree])


def test_two_runs_agree_bit_for_bit() -> None:
    x, books = draw(64, torch.float32)
    first, second = step(x, books), step(x, books)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(first, second, strict=True))


def make_layer(**options: object) -> ResidualVQ:
    torch.manual_seed(0)
    return ResidualVQ(dim=64, codebook_size=_SIZES, **options).to(CUDA)  # type: ignore[arg-type]


@pytest.mark.usefixtures("forbid_waiting")
@pytest.mark.parametrize("options", [{}, {"kmeans_init": True}, {"quantize_dropout": True}], ids=str)
def test_never_waits_for_the_device(options: dict[str, bool]) -> None:
    x, _ = draw(64, torch.float32)
    for debug_mode in ("default", "error"):  # the first round compiles the kernels
        layer = make_layer(**options)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode(debug_mode)
        for _ in range(2):
            quantized, _, losses = layer(x)
            (quantized.square().mean() + losses.sum()).backward()
            update_codebooks()
    torch.cuda.set_sync_debug_mode("default")
    assert all(stage._codebook.steps == 2 for stage in layer.stages)


def test_captured_step_does_what_the_eager_one_does() -> None:
    x, _ = draw(64, torch.float32)
    eager, captured = make_layer(), make_layer()
    start = {name: value.clone() for name, value in captured.state_dict().items()}

    def train(layer: ResidualVQ) -> None:
        quantized, _, losses = layer(x)
        x.grad = None
        (quantized.square().mean() + losses.sum()).backward()
        update_codebooks()

    graph, _ = capture(lambda: train(captured))
    captured.load_state_dict(start)
    for _ in range(5):
        graph.replay()
        train(eager)
    torch.cuda.synchronize()
    for name, value in eager.state_dict().items():
        assert torch.equal(captured.state_dict()[name], value), name
