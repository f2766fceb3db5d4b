"""The kernels of finite scalar and lookup-free quantization against the portable forms: odd shapes, strides, dtypes."""

import pytest
import torch

from aevae_fast import portable
from aevae_fast.functional._levels import VARIANTS, bounds
from aevae_fast.kernels import code_probabilities as tables
from aevae_fast.kernels import finite_scalar_quantize as levels_kernel
from aevae_fast.kernels import lookup_free_quantize as signs_kernel

from .cases import DTYPES, view

ULP = {"fp32": 2.0**-23, "bf16": 2.0**-7, "fp16": 2.0**-10}
LAYOUTS = ["rows", "channels", "slice"]


def draw(dimension, dtype):
    torch.manual_seed(dimension)
    rows, grad = (torch.randn(2, 19, dimension).to(DTYPES[dtype]) for _ in range(2))
    return rows, grad, torch.rand(2, 19) > 0.3


def close(found, expected, dtype, scale=1.0):
    """One rounding to the dtype apart, where float32's own were 2^-20 of `scale` apart."""
    found, expected = found.cpu().double(), expected.cpu().double()
    assert not found.isnan().any()
    assert ((found - expected).abs() <= ULP[dtype] * expected.abs() + 2.0**-20 * scale).all()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("levels", [[7], [8, 5, 5], [3] * 17], ids=["one", "three", "seventeen"])
def test_levels(levels, dtype, layout, device):
    rows, grad, mask = draw(len(levels), dtype)
    x, upstream = (view(tensor.to(device), layout) for tensor in (rows, grad))
    for variant in VARIANTS:
        scheme = bounds(levels, variant)
        for keep in (None, mask.to(device)):
            quantized, indices = levels_kernel.finite_scalar_quantize(x, *scheme, keep, None)
            expected = portable.finite_scalar_quantize(x, *scheme, keep, None)
            same = (indices == expected[1])[..., None]
            assert same.float().mean() > 0.99  # at a boundary the last bit of the bounded value decides
            close(quantized.where(same, 0.0), expected[0].where(same, 0.0), dtype)
            found = levels_kernel.finite_scalar_quantize_backward(upstream, x, *scheme, keep)
            wanted = portable.finite_scalar_quantize_backward(upstream, x, *scheme, keep)
            close(found, wanted, dtype, upstream.abs().max().item())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", [1, 18, 33])
def test_signs(bits, dtype, layout, device):
    rows, grad, mask = draw(bits, dtype)
    x, upstream = (view(tensor.to(device), layout) for tensor in (rows, grad))
    scales = (torch.tensor(0.3, device=device), torch.tensor(0.7, device=device))
    for keep, slope in ((None, 0.0), (None, 1.5), (mask.to(device), 1.5)):
        found = signs_kernel.lookup_free_quantize(x, keep, 0.5, slope)
        expected = portable.lookup_free_quantize(x, keep, 0.5, slope)
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])
        torch.testing.assert_close(found[2:], expected[2:], rtol=2.0**-20, atol=0)
        args = (upstream, x, keep, 0.5, slope, *scales)
        close(
            signs_kernel.lookup_free_quantize_backward(*args), portable.lookup_free_quantize_backward(*args), dtype, 4
        )


@pytest.mark.parametrize(
    ("bits", "group", "dtype", "layout"),
    [
        *((7, 3, "fp32", layout) for layout in LAYOUTS),
        (7, 3, "fp16", "channels"),
        (7, 3, "bf16", "slice"),
        (1, 1, "fp32", "rows"),
        (9, 9, "bf16", "channels"),
        (11, 11, "fp32", "rows"),
    ],
)
def test_tables(bits, group, dtype, layout, device):
    """Two codebooks; groups with a smaller last one; 11 bits take more than one tile."""
    rows, _, mask = draw(2 * bits, dtype)
    x = view(rows.to(device), layout)
    for keep in (None, mask.to(device)):
        table = tables.code_probabilities(x, keep, 1.5, bits, group)
        expected = portable.code_probabilities(x, keep, 1.5, bits, group)
        torch.testing.assert_close(table, expected, rtol=2.0**-18, atol=1e-30)
        kept = 38 if keep is None else int(keep.sum())
        torch.testing.assert_close(table.sum(-1), torch.full(table.shape[:2], float(kept), device=device))
        grad = torch.randn(table.shape).to(device)
        found = tables.code_probabilities_backward(grad, x, keep, 1.5, bits, group)
        close(
            found, portable.code_probabilities_backward(grad, x, keep, 1.5, bits, group), dtype, grad.abs().max().item()
        )


@pytest.mark.parametrize("shape", [(0, 5, 4), (3, 0, 4)])
def test_empty(shape, device):
    x, scheme = torch.empty(*shape, device=device), bounds([5] * 4, "tanh")
    assert levels_kernel.finite_scalar_quantize(x, *scheme, None, None)[1].shape == shape[:2]
    assert levels_kernel.finite_scalar_quantize_backward(x, x, *scheme, None).shape == shape
    assert [float(part) for part in signs_kernel.lookup_free_quantize(x, None, 1.0, 1.0)[2:]] == [0.0, 0.0]
    assert not tables.code_probabilities(x, None, 1.0, 4, 4).any()


def test_two_runs_agree_bit_for_bit(device):
    x = torch.randn(1, 300, 18, device=device)
    first, second = (signs_kernel.lookup_free_quantize(x, None, 1.0, 2.0) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(*(tables.code_probabilities(x, None, 2.0, 18, 9) for _ in range(2)))
