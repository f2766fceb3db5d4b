"""The gradient of the rotation trick against the explicit rotation in float64."""

import pytest
import torch

from aevae_fast import reference
from aevae_fast.kernels.rotate_to import rotate_to_backward

from .cases import DTYPES, view

ULP = {"fp32": 2.0**-23, "bf16": 2.0**-7, "fp16": 2.0**-10}


@pytest.mark.parametrize("layout", ["rows", "channels", "slice"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dimension", [1, 17, 64, 200, 2100])
def test_gradient(dimension, dtype, layout, device):
    torch.manual_seed(0)
    source, target, grad = (torch.randn(2, 19, dimension).to(DTYPES[dtype]) for _ in range(3))
    source[0, 3], target[0, 5] = 0, -2 * source[0, 5]
    found = rotate_to_backward(*(view(tensor.to(device), layout) for tensor in (grad, source, target))).cpu()
    assert found.dtype == DTYPES[dtype]
    leaf = source.double().requires_grad_()
    reference.rotate_to(leaf, target.double()).backward(grad.double())
    # Three sums over D of products with unit vectors, each to D roundings, scaled by λ.
    size = source.double().norm(dim=-1)
    scale = target.double().norm(dim=-1) / size.where(size > 0, 1)
    slack = 4 * (dimension + 8) * 2.0**-24 * scale[..., None] * grad.double().norm(dim=-1, keepdim=True)
    assert ((found.double() - leaf.grad).abs() <= ULP[dtype] * leaf.grad.abs() + slack).all()


@pytest.mark.parametrize("shape", [(0, 5, 4), (3, 0, 4)])
def test_empty(shape, device):
    x = torch.empty(*shape, device=device)
    assert rotate_to_backward(x, x, x).shape == shape
