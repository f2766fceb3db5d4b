"""`residual_vector_quantize` on the CPU path against the reference: values, gradients, layouts, dtypes, masks."""

from typing import Any

import pytest
import torch
from torch import Tensor

from aevae_fast import functional
from tests.exactness import DATA, distances64, real_mismatches

from .test_vector_quantize import DTYPES, LAYOUTS

SIZES = (23, 7, 40)


def draw_codebooks(dim: int = 6, sizes: tuple[int, ...] = SIZES) -> list[Tensor]:
    return [torch.randn(size, dim) * 0.7**q for q, size in enumerate(sizes)]


def run(x: Tensor, codebooks: list[Tensor], impl: str | None, **options: Any) -> tuple[Tensor, ...]:
    """quantized, indices, losses, gradients of x and of each codebook."""
    x, codebooks = x.detach().requires_grad_(), [codes.detach().requires_grad_() for codes in codebooks]
    quantized, indices, losses = functional.residual_vector_quantize(x, codebooks, impl=impl, **options)
    upstream = torch.linspace(-1, 1, quantized.numel()).view(quantized.shape).to(quantized.dtype)
    weights = torch.linspace(1, 2, len(codebooks)).to(losses.dtype)
    gradients = torch.autograd.grad((quantized, losses), (x, *codebooks), (upstream, weights))
    return quantized.detach(), indices, losses.detach(), *gradients


def residuals(x: Tensor, codebooks: list[Tensor], indices: Tensor) -> list[Tensor]:
    """r_0 to r_Q of rows x [N, D], in float32, rounded after each stage."""
    found = [x.float()]
    for codes, chosen in zip(codebooks, indices.unbind(-1), strict=True):
        found.append(found[-1] - codes[chosen])
    return found


def compare(x: Tensor, codebooks: list[Tensor], dim: int = -1, impl: str | None = None, **options: Any) -> None:
    """Values are the reference's; losses and gradients err by its own error and the rounding of their own sums."""
    options["dim"] = dim
    ours, expected = run(x, codebooks, impl, **options), run(x, codebooks, "reference", **options)
    exact = run(x.double(), [codes.double() for codes in codebooks], "reference", **options)
    assert torch.equal(ours[1], expected[1])
    assert torch.equal(exact[1], expected[1])
    assert torch.equal(ours[0], expected[0])
    assert ours[0].stride() == torch.empty_like(x).stride()
    rows = x.double().movedim(dim, -1)
    kept = (exact[1][..., 0] >= 0).sum().clamp(min=1) * rows.shape[-1]
    pairs = functional.residual_statistics(rows, [codes.double() for codes in codebooks], exact[1])
    # A sum of n terms in float32 is off by at most n·2⁻²⁴·Σ|term|, and no term is above the largest residual's entries
    # and code's; 4 eps of the result are allowed beside.
    largest = rows.abs().amax() + sum(codes.double().abs().amax() for codes in codebooks)
    sums = [counts.amax() * (counts.amax() / 8).clamp(min=1) * largest * 4 / kept for counts, _ in pairs]
    sizes = (exact[2].amax(), exact[3].abs().amax(), *sums)
    for mine, theirs, truth, size in zip(ours[2:], expected[2:], exact[2:], sizes, strict=True):
        assert mine.dtype == theirs.dtype
        unit = torch.finfo(mine.dtype).eps * size
        assert (mine - truth).abs().amax() <= (theirs - truth).abs().amax() + 4 * unit


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_matches_the_reference(layout: str, dtype: torch.dtype, masked: bool) -> None:
    torch.manual_seed(0)
    make, dim = LAYOUTS[layout]
    x = make().to(dtype)
    mask = torch.rand(x.movedim(dim, -1).shape[:-1]) > 0.3 if masked else None
    compare(x, draw_codebooks(), dim, mask=mask, commitment_weight=0.3, codebook_weight=0.6)


@pytest.mark.parametrize("estimator", ["straight_through", "rotation"])
@pytest.mark.parametrize("active", [None, 0, 2, 3], ids=str)
@pytest.mark.parametrize("detach_residual", [True, False], ids=["detached", "attached"])
def test_options(detach_residual: bool, active: int | None, estimator: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 6, 40)
    options = {"detach_residual": detach_residual, "estimator": estimator, "mask": torch.rand(3, 40) > 0.3}
    options["active"] = None if active is None else torch.tensor(active)
    compare(x, draw_codebooks(), 1, **options)
    _, indices, losses = functional.residual_vector_quantize(x, draw_codebooks(), dim=1, **options)
    assert (indices[..., 3 if active is None else active :] == -1).all()
    assert (losses > 0).tolist() == [q < (3 if active is None else active) for q in range(3)]


@pytest.mark.parametrize("data", DATA)
def test_every_stage_finds_the_nearest_code_to_its_residual(data: str) -> None:
    torch.manual_seed(0)
    x, first = DATA[data](700, 90, 12)
    codebooks = [first, *(torch.randn(size, 12) * x.std() * 0.5**q for q, size in enumerate((33, 1, 70)))]
    quantized, indices, losses = functional.residual_vector_quantize(x, codebooks, commitment_weight=1.0)
    left = residuals(x, codebooks, indices)
    for q, codes in enumerate(codebooks):
        assert real_mismatches(left[q], codes, indices[:, q]) == 0
        nearest = distances64(left[q], codes, "euclidean").gather(1, indices[:, q, None])
        torch.testing.assert_close(losses[q].double(), 2 * nearest.sum() / x.numel(), rtol=1e-6, atol=0)
    total = torch.zeros_like(x)
    for codes, chosen in zip(codebooks, indices.unbind(1), strict=True):
        total = total + codes[chosen]
    assert torch.equal(quantized, total)


def test_one_tensor_of_codebooks_and_one_codebook_for_all_stages() -> None:
    torch.manual_seed(0)
    x, codebooks = torch.randn(50, 6), torch.randn(3, 9, 6)
    whole = functional.residual_vector_quantize(x, codebooks)
    for mine, theirs in zip(whole, functional.residual_vector_quantize(x, list(codebooks)), strict=True):
        assert torch.equal(mine, theirs)
    shared, apart = codebooks[0].clone().requires_grad_(), [codebooks[0].clone().requires_grad_() for _ in range(3)]
    for stages in ([shared] * 3, apart):
        functional.residual_vector_quantize(x, stages)[2].sum().backward()
    torch.testing.assert_close(shared.grad, sum(codes.grad for codes in apart))


def test_codebook_gradient_far_from_zero() -> None:
    torch.manual_seed(0)
    x, codebooks = 1000 + 0.01 * torch.randn(4000, 6), [1000 + 0.01 * torch.randn(8, 6), 0.01 * torch.randn(8, 6)]
    weights = {"commitment_weight": 0.0, "codebook_weight": 1.0}
    ours = run(x, codebooks, None, **weights)
    exact = run(x.double(), [codes.double() for codes in codebooks], "reference", **weights)
    for mine, truth in zip(ours[4:], exact[4:], strict=True):
        assert (mine - truth).abs().max() <= 1e-6 * truth.abs().max()


def test_the_gradient_of_quantized_is_the_identity_once() -> None:
    torch.manual_seed(0)
    x = torch.randn(300, 8, requires_grad=True)
    for detach_residual in (True, False):
        quantized = functional.residual_vector_quantize(x, draw_codebooks(8), detach_residual=detach_residual)[0]
        upstream = torch.randn_like(x)
        assert torch.equal(torch.autograd.grad(quantized, x, upstream)[0], upstream)


def test_a_row_that_is_not_finite_shows_and_stays_out_of_sums() -> None:
    torch.manual_seed(0)
    x, codebooks = torch.randn(30, 6), [codes.requires_grad_() for codes in draw_codebooks()]
    x[3, 1], x[4, 0] = torch.nan, -torch.inf
    x.requires_grad_()
    quantized, indices, losses = functional.residual_vector_quantize(x, codebooks)
    (losses.sum() + quantized.sum()).backward()
    bad = torch.tensor([3, 4])
    assert (indices[bad] == -1).all()
    assert quantized[bad].isnan().all()
    assert losses.isnan().all()
    assert x.grad is not None
    assert x.grad[bad].isnan().any(1).all()
    counts = [counts.sum() for counts, _ in functional.residual_statistics(x, codebooks, indices)]
    assert counts == [28, 28, 28]


def test_a_residual_that_overflows_has_no_code_from_there_on() -> None:
    x, codebooks = torch.full((2, 6), 3e38), [torch.full((1, 6), -3e38), torch.randn(4, 6)]
    x[1] = 0.0
    for impl in (None, "reference"):
        quantized, indices, losses = functional.residual_vector_quantize(x, codebooks, impl=impl)
        assert indices.tolist()[0] == [0, -1]
        assert quantized[0].isnan().all()
        assert not losses.isfinite().any()


def test_a_masked_row_may_hold_anything() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 6)
    x[2], x[4] = torch.nan, 3e38
    x.requires_grad_()
    mask = torch.tensor([True, True, False, True, False, True])
    codebooks = [codes.requires_grad_() for codes in draw_codebooks()]
    quantized, indices, losses = functional.residual_vector_quantize(x, codebooks, mask=mask)
    (losses.sum() + quantized.sum()).backward()
    assert (indices[~mask] == -1).all()
    assert losses.isfinite().all()
    assert x.grad is not None
    assert not quantized[~mask].any()
    assert not x.grad[~mask].any()
    assert all(codes.grad is not None and codes.grad.isfinite().all() for codes in codebooks)
    nothing = functional.residual_vector_quantize(x.detach(), codebooks, mask=torch.zeros(6, dtype=torch.bool))
    assert not nothing[2].any()
    assert not nothing[0].any()


@pytest.mark.parametrize("shape", [(0, 6), (2, 0, 6)])
def test_empty(shape: tuple[int, ...]) -> None:
    x = torch.empty(shape, requires_grad=True)
    quantized, indices, losses = functional.residual_vector_quantize(x, draw_codebooks())
    (quantized.sum() + losses.sum()).backward()
    assert quantized.shape == x.shape
    assert indices.shape == (*shape[:-1], 3)
    assert not losses.any()


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("detach_residual", [True, False], ids=["detached", "attached"])
def test_against_vector_quantize_pytorch(detach_residual: bool, masked: bool) -> None:
    """Where both are right: its losses and their gradients; the gradient of its quantized output too where codes carry
    theirs, since at its default it counts that once a stage."""
    peer = pytest.importorskip("vector_quantize_pytorch")
    torch.manual_seed(0)
    options = {"quant_grad_frac": 0.0 if detach_residual else 1.0, "rotation_trick": False}
    layer = peer.ResidualVQ(dim=8, num_quantizers=4, codebook_size=32, commitment_weight=0.7, **options)
    codebooks = [stage._codebook.embed[0].clone() for stage in layer.layers]
    mask = torch.rand(3, 50) > 0.3 if masked else None
    x = torch.randn(3, 50, 8)
    found = []
    for call in (
        lambda x: layer(x, mask=mask, freeze_codebook=True),
        lambda x: functional.residual_vector_quantize(
            x, codebooks, commitment_weight=0.7, codebook_weight=0.0, detach_residual=detach_residual, mask=mask
        ),
    ):
        u = x.clone().requires_grad_()
        quantized, indices, losses = call(u)
        of_losses = torch.autograd.grad(losses.sum(), u, retain_graph=True)[0]
        of_quantized = torch.autograd.grad(quantized.square().sum(), u)[0]
        keep = torch.ones(3, 50, dtype=torch.bool) if mask is None else mask
        found.append((quantized, indices[keep], losses, of_losses) + (() if detach_residual else (of_quantized,)))
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_forward_keeps_nothing_of_a_stage() -> None:
    kept: list[Tensor] = []
    x, codebooks = torch.randn(500, 6, requires_grad=True), draw_codebooks()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t), t)[1], lambda t: t):
        functional.residual_vector_quantize(x, codebooks)
    elements = sum(t.numel() for t in kept if t.data_ptr() != x.data_ptr())
    assert elements == 500 * len(codebooks) + sum(codes.numel() for codes in codebooks)


def test_a_second_derivative_is_an_error() -> None:
    x, codebooks = torch.randn(20, 6, requires_grad=True), draw_codebooks()
    losses = functional.residual_vector_quantize(x, codebooks)[2]
    grad = torch.autograd.grad(losses.sum(), x, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="differentiate twice"):
        grad.sum().backward()
