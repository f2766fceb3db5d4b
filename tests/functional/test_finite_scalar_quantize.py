"""Finite scalar quantization: the nearest level of the bounded value, its index and its gradient."""

import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from aevae_fast import functional, reference
from aevae_fast.functional._levels import VARIANTS, bounded, bounds, codes_of, indices_of
from aevae_fast.reference.finite_scalar_quantize import BOUNDS

IMPLS = ["reference", "portable", "triton"]
ULP = {torch.float32: 2.0**-23, torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10}
LEVELS = [8, 5, 3, 16]
COUNT = torch.tensor(LEVELS, dtype=torch.float64)


def draw(*shape: int, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(0))


def width(levels: list[int], variant: str) -> Tensor:
    """Levels from 0 to ±1."""
    count = torch.tensor(levels, dtype=torch.float64)
    return (count - 1) / 2 if variant.startswith("symmetric") else (count / 2).floor()


def near_a_boundary(x: Tensor, levels: list[int], variant: str) -> Tensor:
    """Rows [...] whose float64 value lies so near to where two levels meet that float32 may round it either way."""
    count = torch.tensor(levels, dtype=torch.float64)
    y = BOUNDS[variant](x.double(), count)
    return ((y - y.floor() - 0.5 * (not variant.startswith("symmetric"))).abs() % 1 <= 8 * 2.0**-24 * count).any(-1)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_code_is_the_level_nearest_to_the_bounded_value(variant: str, impl: Any) -> None:
    """By brute force over all levels, which lie evenly up to ±1, an even number one further down."""
    x = draw(300, 4)
    quantized, indices = functional.finite_scalar_quantize(x, LEVELS, variant=variant, impl=impl)
    digits, place = torch.zeros(300, 4, dtype=torch.int64), 1
    for d, count in enumerate(LEVELS):
        step = 1 / width([count], variant)
        grid = (
            torch.arange(count) - (count - 1) / 2
            if variant.startswith("symmetric")
            else torch.arange(count) - count // 2
        )
        grid = grid * step
        y = BOUNDS[variant](x[:, d].double(), torch.tensor(float(count), dtype=torch.float64)) * step
        value = y - 1 if variant.startswith("symmetric") else y
        digits[:, d] = (value[:, None] - grid).abs().argmin(1)
        torch.testing.assert_close(quantized[:, d].double(), grid[digits[:, d]], rtol=0, atol=2.0**-24)
        place *= count
    expected = sum(digits[:, d] * math.prod(LEVELS[:d]) for d in range(4))
    assert torch.equal(indices, expected)


@pytest.mark.parametrize(("variant", "formula"), [
    ("ifsq", lambda x: 2 * torch.sigmoid(1.6 * x) - 1),
    ("symmetric", torch.tanh),
    ("clamp", lambda x: 1.001 * x.clamp(-1, 1)),
    ("tanh", lambda x: 1.001 * x.tanh()),
    ("tan", lambda x: 0.999 * x.tanh()),
])  # fmt: skip
def test_odd_levels_bound_as_the_papers_say(variant: str, formula: Any) -> None:
    x = draw(200, 1)
    quantized, _ = functional.finite_scalar_quantize(x, [7], variant=variant)
    torch.testing.assert_close(quantized, (formula(x) * 3).round() / 3)


@pytest.mark.parametrize("impl", IMPLS)
def test_ties_go_to_the_even_level_or_up(impl: Any) -> None:
    """Halves of a clamp that nothing stretches; 0 stays 0 where levels are even."""
    x = torch.tensor([[-0.75], [-0.25], [0.25], [0.75]])
    up, _ = functional.finite_scalar_quantize(x, [5], variant="symmetric_clamp", impl=impl)
    assert up[:, 0].tolist() == [-0.5, 0.0, 0.5, 1.0]
    zero, index = functional.finite_scalar_quantize(torch.zeros(1, 2), [4, 5], impl=impl)
    assert zero.tolist() == [[0.0, 0.0]]
    assert index.tolist() == [2 + 4 * 2]


@pytest.mark.parametrize("impl", ["portable", "triton"])
@pytest.mark.parametrize("layout", ["rows", "channels", "strided"])
@pytest.mark.parametrize("dtype", ULP)
def test_against_float64(dtype: torch.dtype, layout: str, impl: Any) -> None:
    torch.manual_seed(0)
    rows, weight = draw(2, 5, 7, 4).to(dtype), torch.randn(2, 5, 7, 4).to(dtype)
    mask = torch.rand(2, 5, 7) > 0.3
    rows[~mask] = torch.nan
    x, dim = rows, -1
    if layout == "channels":
        x, dim = rows.movedim(-1, 1).contiguous(), 1
    if layout == "strided":
        x = torch.full((2, 5, 14, 9), torch.nan, dtype=dtype)
        x[:, :, ::2, 1::2] = rows
        x = x[:, :, ::2, 1::2]
    for variant in VARIANTS:
        leaf = x.detach().requires_grad_()
        quantized, indices = functional.finite_scalar_quantize(
            leaf, LEVELS, variant=variant, mask=mask, dim=dim, impl=impl
        )
        assert quantized.dtype == dtype
        quantized.movedim(dim, -1).backward(weight)
        assert leaf.grad is not None
        wide = rows.double().requires_grad_()
        code, expected = reference.finite_scalar_quantize(wide, LEVELS, variant=variant, mask=mask)
        code.backward(weight.double())
        assert wide.grad is not None
        clear = ~near_a_boundary(rows, LEVELS, variant)
        assert torch.equal(indices[clear], expected[clear])
        assert (indices == -1).eq(~mask).all()
        found, truth = quantized.detach().movedim(dim, -1)[clear].double(), code.detach()[clear]
        assert ((found - truth).abs() <= ULP[dtype] * truth.abs()).all()
        # One rounding of the result, half the least float16 included, and float32's on the way: of exp, of a sum near
        # 1 and of three products.
        gradient = leaf.grad.movedim(dim, -1).double()
        allowed = ULP[dtype] * wide.grad.abs() + 2.0**-20 * weight.double().abs() + 2.0**-25
        assert ((gradient - wide.grad).abs() <= allowed).all()


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_gradient_is_that_of_the_bounded_value(variant: str, impl: Any) -> None:
    x = draw(40, 4)
    leaf = x.clone().requires_grad_()
    functional.finite_scalar_quantize(leaf, LEVELS, variant=variant, impl=impl)[0].sum().backward()
    smooth = x.double().requires_grad_()
    (BOUNDS[variant](smooth, COUNT) / width(LEVELS, variant)).sum().backward()
    torch.testing.assert_close(leaf.grad.double(), smooth.grad, rtol=2.0**-20, atol=2.0**-20)


def test_the_bounded_value_is_the_references() -> None:
    x = draw(50, 4).double()
    torch.testing.assert_close(bounded(x, torch.tensor(LEVELS)), BOUNDS["tanh"](x, COUNT))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_index_has_its_code_and_every_code_its_index(variant: str) -> None:
    indices = torch.arange(math.prod(LEVELS))
    codes = codes_of(indices, torch.tensor(LEVELS), variant)
    assert codes.unique(dim=0).shape == codes.shape
    assert codes.abs().max() == 1
    assert torch.equal(indices_of(codes, torch.tensor(LEVELS), variant), indices)
    assert torch.equal(indices_of(codes.bfloat16(), torch.tensor(LEVELS), variant), indices)


@pytest.mark.parametrize("impl", IMPLS)
def test_indices_beyond_32_bits(impl: Any) -> None:
    x = torch.full((1, 31), 9.0)
    for levels in ([4] * 31, [4] * 16, [2**20, 2**11]):
        point = x[:, : len(levels)]
        _, index = functional.finite_scalar_quantize(point, levels, variant="symmetric", impl=impl)
        assert index.item() == math.prod(levels) - 1


@pytest.mark.parametrize("impl", IMPLS)
def test_rows_that_are_not_finite_and_empty_batches(impl: Any) -> None:
    x = draw(5, 4)
    x[1, 2], x[3, 0] = torch.inf, torch.nan
    quantized, indices = functional.finite_scalar_quantize(x, LEVELS, impl=impl)
    assert quantized.isnan().all(-1).tolist() == [False, True, False, True, False]
    assert (indices == -1).tolist() == [False, True, False, True, False]
    for shape in ((0, 4), (3, 0, 4)):
        leaf = torch.empty(shape, requires_grad=True)
        quantized, indices = functional.finite_scalar_quantize(leaf, LEVELS, impl=impl)
        quantized.sum().backward()
        assert indices.shape == shape[:-1]
        assert leaf.grad is not None


@pytest.mark.parametrize("dim", [-1, 1])
def test_several_codebooks_side_by_side(dim: int) -> None:
    """The same as one after the other, masks included, and nothing is copied to get there."""
    parts = draw(3, 2, 5, 4)  # three codebooks
    mask = torch.rand(2, 5) > 0.4
    x = torch.cat(list(parts), -1).movedim(-1, dim).contiguous()
    quantized, indices = functional.finite_scalar_quantize(x, LEVELS, codebooks=3, mask=mask, dim=dim)
    each = [functional.finite_scalar_quantize(part, LEVELS, mask=mask) for part in parts]
    assert torch.equal(quantized.movedim(dim, -1), torch.cat([code for code, _ in each], -1))
    assert torch.equal(indices, torch.stack([index for _, index in each], -1))
    rows = functional._codebooks.Parts(x, dim, 3).rows(x)
    assert rows.data_ptr() == x.data_ptr()


@pytest.mark.parametrize("variant", VARIANTS)
def test_noise_takes_the_place_of_rounding(variant: str) -> None:
    """A share of the values lies within half a level of the bounded one; indices and gradients do not notice."""
    x = draw(2000, 4)
    results = []
    for impl in (None, "reference", "triton"):
        torch.manual_seed(1)
        leaf = x.clone().requires_grad_()
        results.append(
            (*functional.finite_scalar_quantize(leaf, LEVELS, variant=variant, noise_dropout=0.25, impl=impl), leaf)
        )
        results[-1][0].sum().backward()
    plain, index = functional.finite_scalar_quantize(x, LEVELS, variant=variant)
    value = results[0][0].detach()
    for other in results[1:]:
        torch.testing.assert_close(other[0].detach(), value)
        torch.testing.assert_close(other[2].grad, results[0][2].grad)
    assert torch.equal(results[0][1], index)
    y = BOUNDS[variant](x, COUNT.float()) / width(LEVELS, variant).float() - float(variant.startswith("symmetric"))
    away = (value - y) * width(LEVELS, variant).float()
    chosen = value != plain
    assert 0.22 < chosen.float().mean() < 0.28
    assert away.abs().max() <= 0.5 + 1e-5
    assert away[chosen].std() == pytest.approx(1 / math.sqrt(12), rel=0.05)
    full, _ = functional.finite_scalar_quantize(x, LEVELS, variant=variant, noise_dropout=1.0)
    assert (full != plain).float().mean() > 0.99


@pytest.mark.parametrize("strided", [False, True], ids=["rows", "channel_first"])
def test_opcheck(strided: bool) -> None:
    x = torch.randn(2, 4, 11).transpose(1, 2) if strided else torch.randn(1, 11, 4)
    scheme, mask = bounds(LEVELS, "ifsq"), torch.rand(x.shape[:2]) > 0.5
    noise = torch.full(x.shape, torch.nan)
    opcheck(torch.ops.aevae_fast.finite_scalar_quantize.default, (x, *scheme, mask, noise))
    opcheck(torch.ops.aevae_fast.finite_scalar_quantize.default, (x, *scheme, None, None))
    opcheck(torch.ops.aevae_fast.finite_scalar_quantize_backward.default, (torch.randn(x.shape), x, *scheme, mask))


def test_a_second_derivative_is_an_error() -> None:
    x = draw(3, 4).requires_grad_()
    (grad,) = torch.autograd.grad(functional.finite_scalar_quantize(x, LEVELS)[0].sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="twice"):
        grad.sum().backward()


X = torch.randn(5, 4)
BAD: list[tuple[type[Exception], str, Any]] = [
    (ValueError, "variant must be one of 'tanh'.* got 'sin'", {"variant": "sin"}),
    (TypeError, "levels must be a sequence of ints.* got 8", {"levels": 8}),
    (ValueError, "levels must be numbers from 3 .* got .*two levels are for the symmetric", {"levels": [8, 5, 2, 4]}),
    (ValueError, "levels must be numbers from 2", {"levels": [8, 5, 1, 4], "variant": "symmetric"}),
    (ValueError, "levels must be numbers from 3", {"levels": []}),
    (ValueError, "levels must have a product below 2", {"levels": [2**20] * 4}),
    (ValueError, r"x must hold 1 times 3 entries.* got x of shape \(5, 4\)", {"levels": [8, 5, 5]}),
    (ValueError, "x must hold 3 parts of equal size", {"codebooks": 3}),
    (ValueError, r"noise_dropout must lie in \[0, 1\]; got 1.5", {"noise_dropout": 1.5}),
    (ValueError, r"mask must have shape \(5,\)", {"mask": torch.ones(4).bool()}),
    (TypeError, "x must be a torch.Tensor; got list", {"x": [1.0]}),
    (ValueError, "dim must name an axis", {"dim": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("error", "message", "arguments"), BAD, ids=[re.sub(r"\W+", "_", b[1])[:40] for b in BAD])
def test_bad_input_is_named(error: type[Exception], message: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(error, match=message):
        functional.finite_scalar_quantize(**{"x": X, "levels": LEVELS, **arguments})
