"""The rotation trick: the value is the code's, the gradient that of an explicit rotation."""

from typing import Any

import pytest
import torch
from torch.library import opcheck

from aevae_fast import VectorQuantize, functional

IMPLS = ["portable", "triton"]
ULP = {torch.float32: 2.0**-23, torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10}


def gradient(source: torch.Tensor, target: torch.Tensor, grad: torch.Tensor, **options: Any) -> torch.Tensor:
    source = source.detach().requires_grad_()
    functional.rotate_to(source, target, **options).backward(grad)
    assert source.grad is not None
    return source.grad


def test_the_rotation_takes_one_direction_to_the_other() -> None:
    """R by its columns: the gradient to source of each entry of the result."""
    torch.manual_seed(0)
    source, target = torch.randn(5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    jacobian = torch.stack([gradient(source, target, row) for row in torch.eye(5, dtype=torch.float64)])
    scale = target.norm() / source.norm()
    torch.testing.assert_close(jacobian @ source, target)
    torch.testing.assert_close(jacobian.T @ jacobian, scale**2 * torch.eye(5, dtype=torch.float64))
    assert torch.linalg.det(jacobian) > 0
    across = torch.linalg.svd(torch.stack([source, target])).Vh[2:]  # what is orthogonal to both stays
    torch.testing.assert_close(across @ jacobian.T, scale * across)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("dtype", ULP)
@pytest.mark.parametrize("shape", [(3, 7, 1), (2, 3, 17), (70, 64), (300,), (0, 4)])
def test_gradient_against_float64(shape: tuple[int, ...], dtype: torch.dtype, impl: Any) -> None:
    torch.manual_seed(1)
    source, target, grad = (torch.randn(shape).to(dtype) for _ in range(3))
    found = gradient(source, target, grad, impl=impl)
    assert found.dtype == dtype
    truth = gradient(source.double(), target.double(), grad.double(), impl="reference")
    # Three sums over D of products with unit vectors, each to D roundings, scaled by λ.
    ratio = (target.double().norm(dim=-1) / source.double().norm(dim=-1))[..., None]
    slack = 4 * (shape[-1] + 8) * 2.0**-24 * ratio * grad.double().norm(dim=-1, keepdim=True)
    assert ((found.double() - truth).abs() <= ULP[dtype] * truth.abs() + slack).all()


@pytest.mark.parametrize("impl", [None, "reference", "portable", "triton"])
def test_value_is_the_code_and_layout_does_not_matter(impl: Any) -> None:
    torch.manual_seed(2)
    source, target, grad = (torch.randn(2, 6, 3, 5) for _ in range(3))
    rows = [tensor.movedim(1, -1) for tensor in (source, target, grad)]
    assert torch.equal(functional.rotate_to(source, target, dim=1, impl=impl), target)
    by_map = gradient(source, target.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2), grad, dim=1, impl=impl)
    torch.testing.assert_close(by_map.movedim(1, -1), gradient(*(t.contiguous() for t in rows), impl=impl))


@pytest.mark.parametrize("impl", ["reference", "portable", "triton"])
def test_zero_and_opposite_vectors(impl: Any) -> None:
    grad = torch.tensor([[1.0, 2.0, 3.0]])
    zero, e = torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 2.0]])
    assert torch.equal(gradient(zero, e, grad, impl=impl), grad)
    assert torch.equal(gradient(e, zero, grad, impl=impl), zero)
    torch.testing.assert_close(gradient(e, -e, grad, impl=impl), torch.tensor([[1.0, 2.0, -3.0]]))
    torch.testing.assert_close(gradient(e, 3 * e, grad, impl=impl), 3 * grad)


@pytest.mark.parametrize("dim", [-1, 1])
@pytest.mark.parametrize("impl", [None, "reference", "triton"])
def test_as_the_estimator_of_vector_quantize(impl: Any, dim: int) -> None:
    torch.manual_seed(3)
    x, codebook = torch.randn(4, 6, 6).requires_grad_(), torch.randn(9, 6)
    mask, grad = torch.rand(4, 6) > 0.3, torch.randn(4, 6, 6)
    with torch.no_grad():
        x.masked_fill_(~mask.unsqueeze(dim), torch.nan)
    options = {"mask": mask, "dim": dim, "impl": impl}
    quantized, indices, loss = functional.vector_quantize(x, codebook, estimator="rotation", **options)
    plain = functional.vector_quantize(x.detach(), codebook, **options)
    assert torch.equal(quantized, plain[0])
    assert torch.equal(indices, plain[1])
    ((quantized * grad).sum() + loss).backward()
    step = 2 * 0.25 / (mask.sum() * 6) * (x.detach() - plain[0])
    expected = gradient(x, plain[0], grad, dim=dim, impl="reference") + step
    assert x.grad is not None
    torch.testing.assert_close(x.grad, expected.masked_fill(~mask.unsqueeze(dim), 0.0))


def test_layer_against_the_peer() -> None:
    """The codes and gradients of vector-quantize-pytorch with its rotation trick; its value strays from the code."""
    peers = pytest.importorskip("vector_quantize_pytorch")
    torch.manual_seed(4)
    peer = peers.VectorQuantize(8, 16, rotation_trick=True)
    layer = VectorQuantize(8, 16, rotation_trick=True, threshold_ema_dead_code=0)
    layer.load_state_dict(peer.state_dict())
    x, weight = torch.randn(3, 20, 8), torch.randn(3, 20, 8)
    grads = []
    for module in (peer, layer):
        leaf = x.clone().requires_grad_()
        quantized, _, loss = module(leaf)
        ((quantized * weight).sum() + loss.sum()).backward()
        grads.append(leaf.grad)
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-4, atol=1e-5)
    assert "estimator='rotation'" in repr(layer)


def test_compiled_training_step() -> None:
    layer = VectorQuantize(8, 16, rotation_trick=True)
    x = torch.randn(2, 30, 8, requires_grad=True)

    def step(x: torch.Tensor) -> torch.Tensor:
        quantized, _, loss = layer(x)
        return quantized.square().sum() + loss

    step(x).backward()
    eager, x.grad = x.grad, None
    torch.compile(step, fullgraph=True, backend="aot_eager")(x).backward()
    torch.testing.assert_close(x.grad, eager)


@pytest.mark.parametrize("strided", [False, True])
def test_opcheck(strided: bool) -> None:
    x = torch.randn(2, 5, 11).transpose(1, 2) if strided else torch.randn(1, 11, 5)
    operation = torch.ops.aevae_fast.rotate_to_backward.default
    opcheck(operation, (torch.randn(x.shape), x, torch.randn(x.shape)))


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        (torch.randn(3, 5), ValueError, r"target .*\(3, 4\).*\(3, 5\)"),
        (torch.randn(3, 4).half(), TypeError, "target .*float32.*float16"),
        ([1.0], TypeError, "target .*Tensor.*list"),
    ],
)
def test_bad_input(target: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        functional.rotate_to(torch.randn(3, 4), target)
    with pytest.raises(ValueError, match=r"estimator .*'rotation'.*'gumbel'"):
        functional.vector_quantize(torch.randn(3, 4), torch.randn(5, 4), estimator="gumbel")
