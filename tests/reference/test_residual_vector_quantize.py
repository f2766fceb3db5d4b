"""The residual reference against brute force written another way, and its gradients against finite differences."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from aevae_fast import reference

SIZES = (5, 3, 4)


def draw(n: int = 12, dim: int = 3) -> tuple[torch.Tensor, list[torch.Tensor]]:
    torch.manual_seed(0)
    x = torch.randn(n, dim, dtype=torch.float64)
    return x, [torch.randn(size, dim, dtype=torch.float64) / (1 + q) for q, size in enumerate(SIZES)]


def test_each_stage_takes_the_code_nearest_to_what_is_left() -> None:
    x, codebooks = draw()
    quantized, indices, losses = reference.residual_vector_quantize(x, codebooks, codebook_weight=0.5)
    squares = [0.0] * len(SIZES)
    for n, row in enumerate(x.tolist()):
        left = row
        for q, codebook in enumerate(codebooks):
            costs = [math.dist(left, code) for code in codebook.tolist()]
            index = costs.index(min(costs))
            assert indices[n, q] == index
            left = [a - b for a, b in zip(left, codebook[index].tolist(), strict=True)]
            squares[q] += min(costs) ** 2
        assert (x[n] - quantized[n]).tolist() == pytest.approx(left)
    assert losses.tolist() == pytest.approx([0.75 * square / x.numel() for square in squares])


def test_losses_have_the_gradients_of_their_formulas() -> None:
    x, codebooks = draw()
    mask, active = torch.arange(12) % 3 != 1, torch.tensor(2)

    def commitment(x: torch.Tensor) -> torch.Tensor:
        weights = {"commitment_weight": 0.3, "codebook_weight": 0.0}
        return reference.residual_vector_quantize(x, codebooks, **weights, mask=mask, active=active)[2]

    def codebook_loss(*codebooks: torch.Tensor) -> torch.Tensor:
        """Of each stage alone: what is left by the stages before it is a constant."""
        found = []
        for q in range(len(codebooks)):
            held = [codes if q == n else codes.detach() for n, codes in enumerate(codebooks)]
            weights = {"commitment_weight": 0.0, "codebook_weight": 0.7}
            found.append(reference.residual_vector_quantize(x, held, **weights, mask=mask, active=active)[2][q])
        return torch.stack(found)

    assert gradcheck(commitment, (x.requires_grad_(),))
    # A code's numerical derivative would move the later stages too: the last stage's is all its own.
    options = {"commitment_weight": 0.0, "mask": mask}
    one = codebooks[0].clone().requires_grad_()
    assert gradcheck(lambda codes: reference.residual_vector_quantize(x.detach(), [codes], **options)[2], (one,))
    grads = torch.autograd.grad(codebook_loss(*(c.requires_grad_() for c in codebooks)).sum(), codebooks)
    left = x.detach()
    _, indices, _ = reference.residual_vector_quantize(left, codebooks, mask=mask, active=active)
    for codes, chosen, grad in zip(codebooks, indices.unbind(1), grads, strict=True):
        expected = torch.zeros_like(codes)
        for row, index in zip(left[chosen >= 0], chosen[chosen >= 0], strict=True):
            expected[index] += 2 * 0.7 * (codes.detach()[index] - row) / (mask.sum() * 3)
        torch.testing.assert_close(grad, expected)
        left = left - codes.detach()[chosen.clamp(min=0)]


def test_without_detaching_the_first_stage_alone_pulls_x() -> None:
    """Written out with codes that pass their gradient straight on, as a residual quantizer's loop does it."""
    x, codebooks = draw()
    weight = torch.tensor([1.0, 2.0, 3.0])
    for detach in (True, False):
        u, v = x.clone().requires_grad_(), x.clone().requires_grad_()
        losses = reference.residual_vector_quantize(
            u, codebooks, commitment_weight=1.0, codebook_weight=0.0, detach_residual=detach
        )[2]
        left, total = v, torch.zeros(())
        for w, codes in zip(weight, codebooks, strict=True):
            code = codes[reference.nearest_code(left.detach(), codes)]
            total = total + w * (left - code).square().mean()
            left = left - (code if detach else left + (code - left).detach())
        expected = torch.autograd.grad(total, v)[0]
        torch.testing.assert_close(torch.autograd.grad((losses * weight).sum(), u)[0], expected)


def test_value_is_the_sum_of_codes_and_the_gradient_passes_once() -> None:
    x, codebooks = (t.float() if isinstance(t, torch.Tensor) else [c.float() for c in t] for t in draw())
    x.requires_grad_()
    quantized, indices, _ = reference.residual_vector_quantize(x, codebooks)
    total = torch.zeros_like(x)
    for codes, chosen in zip(codebooks, indices.unbind(1), strict=True):
        total = total + codes[chosen]
    assert torch.equal(quantized, total)
    upstream = torch.randn_like(x)
    assert torch.equal(torch.autograd.grad(quantized, x, upstream)[0], upstream)


def test_masked_rows_and_rows_that_are_not_finite() -> None:
    x, codebooks = draw(6)
    x[1, 0], x[2, 1] = torch.nan, torch.inf
    mask = torch.tensor([True, False, True, True, False, True])
    quantized, indices, losses = reference.residual_vector_quantize(x, codebooks, mask=mask)
    assert (indices[[1, 2, 4]] == -1).all()
    assert (indices[[0, 3, 5]] >= 0).all()
    assert not quantized[[1, 4]].any()
    assert quantized[2].isnan().all()
    assert losses.isnan().all()


def test_statistics_by_loops() -> None:
    x, codebooks = draw()
    _, indices, _ = reference.residual_vector_quantize(x, codebooks)
    indices[3, 1:], indices[5] = -1, -1
    found = reference.residual_statistics(x, codebooks, indices)
    for q, (codes, (counts, sums)) in enumerate(zip(codebooks, found, strict=True)):
        for k in range(len(codes)):
            rows = [n for n in range(len(x)) if indices[n, q] == k]
            left = [x[n] - sum(codebooks[p][indices[n, p]] for p in range(q)) for n in rows]
            assert counts[k] == len(rows)
            torch.testing.assert_close(sums[k], torch.stack(left).sum(0) if left else torch.zeros_like(sums[k]))
