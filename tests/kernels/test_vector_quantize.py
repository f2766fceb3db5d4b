"""vector_quantize and its gradient against float64."""

import pytest
import torch

from aevae_fast.kernels.nearest_code import nearest_code
from aevae_fast.kernels.vector_quantize import vector_quantize, vector_quantize_backward

from .cases import DTYPES, view

# One unit in the last place: the interpreter cuts fp32 to bf16 where hardware rounds to nearest.
ULP = {"fp32": 2.0**-23, "bf16": 2.0**-7, "fp16": 2.0**-10}
SHAPES = [(1, 40, 3, 2), (2, 70, 17, 33), (1, 33, 64, 300), (1, 9, 300, 20)]


@pytest.mark.parametrize(("layout", "masked"), [("rows", False), ("channels", True), ("slice", True)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("batch", "length", "dimension", "size"), SHAPES)
def test_forward(batch, length, dimension, size, dtype, layout, masked, device):
    torch.manual_seed(0)
    x = view(torch.randn(batch, length, dimension).to(DTYPES[dtype]).to(device), layout)
    codebook = torch.randn(size, dimension).to(device)
    mask = torch.rand(batch, length).to(device) > 0.3 if masked else None
    quantized, indices, error = vector_quantize(x, codebook, mask, "euclidean")
    keep = torch.ones(batch, length, dtype=torch.bool, device=device) if mask is None else mask
    assert torch.equal(indices, torch.where(keep, nearest_code(x, codebook, "euclidean"), -1))
    assert quantized.dtype == x.dtype
    assert quantized.stride() == torch.empty_like(x).stride()
    codes = torch.where(keep[..., None], codebook[indices].double(), 0.0)
    assert ((quantized.double() - codes).abs() <= ULP[dtype] * codes.abs() + 1e-7).all()
    truth = ((x.double() - codes).square() * keep[..., None]).sum()
    assert error.dtype == torch.float32
    assert error.shape == ()
    # A sum of n positive fp32 terms, in a tree: well within D + 40 roundings.
    assert abs(error.double() - truth) <= (dimension + 40) * 2.0**-24 * truth


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_error_is_to_the_raw_code(metric, device):
    torch.manual_seed(1)
    x, codebook = torch.randn(1, 50, 12).to(device), 3 * torch.randn(40, 12).to(device)
    quantized, indices, error = vector_quantize(x, codebook, None, metric)
    assert torch.equal(quantized, codebook[indices])
    torch.testing.assert_close(
        error.double(), (x.double() - codebook[indices].double()).square().sum(), rtol=1e-5, atol=0
    )


def test_rows_that_are_not_finite(device):
    torch.manual_seed(2)
    x, codebook = torch.randn(1, 50, 12).to(device), torch.randn(40, 12).to(device)
    x[0, 7, 3] = float("nan")
    quantized, indices, error = vector_quantize(x, codebook, None, "euclidean")
    assert indices[0, 7] == -1
    assert quantized[0, 7].isnan().all()
    assert error.isnan()
    assert (indices >= 0).sum() == 49
    assert quantized.isnan().sum() == 12


def test_masked_rows_may_hold_anything(device):
    torch.manual_seed(3)
    x, codebook = torch.randn(1, 50, 12).to(device), torch.randn(40, 12).to(device)
    x[0, 7] = float("nan")
    mask = torch.arange(50, device=device)[None] != 7
    quantized, indices, error = vector_quantize(x, codebook, mask, "euclidean")
    assert indices[0, 7] == -1
    assert (quantized[0, 7] == 0).all()
    assert error.isfinite()


def test_repeats_bit_for_bit(device):
    torch.manual_seed(4)
    x, codebook = torch.randn(2, 150, 8).to(device), torch.randn(40, 8).to(device)
    first, again = (vector_quantize(x, codebook, None, "euclidean") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("shape", [(0, 5), (3, 0)])
def test_empty(shape, device):
    x, codebook = torch.empty(*shape, 4, device=device), torch.randn(7, 4, device=device)
    quantized, indices, error = vector_quantize(x, codebook, None, "euclidean")
    assert quantized.shape == x.shape
    assert indices.shape == shape
    assert error == 0
    scale = torch.ones((), device=device)
    assert vector_quantize_backward(x, x, codebook, indices, None, scale).shape == x.shape


@pytest.mark.parametrize("layout", ["rows", "channels", "slice"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dimension", [1, 17, 64, 200])
def test_backward(dimension, dtype, layout, device):
    torch.manual_seed(5)
    x = view(torch.randn(2, 37, dimension).to(DTYPES[dtype]).to(device), layout)
    grad = view(torch.randn(2, 37, dimension).to(DTYPES[dtype]).to(device), "channels" if layout == "rows" else "rows")
    codebook = torch.randn(30, dimension).to(device)
    mask = torch.rand(2, 37).to(device) > 0.3
    indices = torch.where(mask, torch.randint(30, (2, 37)).to(device), -1)
    scale = torch.tensor(0.37, device=device)
    grad_x = vector_quantize_backward(grad, x, codebook, indices, mask, scale)
    assert grad_x.dtype == x.dtype
    step = scale.double() * (x.double() - codebook[indices].double())
    truth = torch.where(mask[..., None], grad.double() + step, 0.0)
    size = grad.double().abs() + step.abs() + scale * codebook[indices].abs()
    assert ((grad_x.double() - truth).abs() <= ULP[dtype] * truth.abs() + 4 * 2.0**-24 * size).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_backward_shows_what_is_not_finite_unless_masked(bad, device):
    torch.manual_seed(6)
    x, grad, codebook = torch.randn(1, 50, 12), torch.randn(1, 50, 12), torch.randn(40, 12).to(device)
    indices = torch.randint(40, (1, 50))
    for n in (7, 9):
        x[0, n, 3], indices[0, n] = bad, -1
    grad[0, 7] = bad
    x, grad, indices = x.to(device), grad.to(device), indices.to(device)
    scale = torch.tensor(0.5, device=device)
    mask = torch.arange(50, device=device)[None] != 7
    grad_x = vector_quantize_backward(grad, x, codebook, indices, mask, scale)
    assert (grad_x[0, 7] == 0).all()
    assert torch.nonzero(~grad_x.isfinite()).tolist() == [[0, 9, 3]]
    unmasked = vector_quantize_backward(grad, x, codebook, indices, None, scale)
    assert not unmasked[0, 7].isfinite().any()
    assert torch.equal(unmasked[0, 8:].nan_to_num(), grad_x[0, 8:].nan_to_num())
