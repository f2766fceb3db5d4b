"""`vector_quantize` on the CPU path against the reference: values, gradients, layouts, dtypes, masks, tracing."""

from typing import Any

import pytest
import torch
from torch import Tensor

from aevae_fast import functional

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
# How x is laid out, and which of its axes holds D = 6.
LAYOUTS: dict[str, tuple[Any, int]] = {
    "rows": (lambda: torch.randn(50, 6), -1),
    "sequence": (lambda: torch.randn(3, 17, 6), -1),
    "image_map": (lambda: torch.randn(3, 6, 4, 5), 1),
    "audio_map": (lambda: torch.randn(3, 6, 19), 1),
    "channels_last_memory": (lambda: torch.randn(3, 6, 4, 5).to(memory_format=torch.channels_last), 1),
    "sliced": (lambda: torch.randn(30, 5, 12)[::2, 1:, ::2], -1),
    "axes_that_cannot_merge": (lambda: torch.randn(5, 4, 3, 6).permute(2, 0, 1, 3), -1),
    "one_vector": (lambda: torch.randn(6), -1),
    "many_short_maps": (lambda: torch.randn(700, 6, 3), 1),
}


def run(x: Tensor, codebook: Tensor, impl: str | None, **options: Any) -> tuple[Tensor, ...]:
    x, codebook = x.detach().requires_grad_(), codebook.detach().requires_grad_()
    quantized, indices, loss = functional.vector_quantize(x, codebook, impl=impl, **options)
    upstream = torch.linspace(-1, 1, quantized.numel()).view(quantized.shape).to(quantized.dtype)
    torch.autograd.backward([quantized, loss], [upstream, torch.tensor(1.7)])
    assert x.grad is not None
    assert codebook.grad is not None
    return quantized.detach(), indices, loss.detach(), x.grad, codebook.grad


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_matches_the_reference(layout: str, dtype: torch.dtype, masked: bool) -> None:
    torch.manual_seed(0)
    make, dim = LAYOUTS[layout]
    x, codebook = make().to(dtype), torch.randn(23, 6)
    mask = torch.rand(x.movedim(dim, -1).shape[:-1]) > 0.3 if masked else None
    options = {"dim": dim, "mask": mask, "commitment_weight": 0.3, "codebook_weight": 0.6}
    ours, expected = run(x, codebook, None, **options), run(x, codebook, "reference", **options)
    exact = run(x.double(), codebook.double(), "reference", **options)
    assert torch.equal(ours[0], expected[0])
    assert torch.equal(ours[1], expected[1])
    assert ours[0].stride() == torch.empty_like(x).stride()
    rows = x.double().movedim(dim, -1)
    counts, terms = functional.codebook_statistics((rows - exact[0].movedim(dim, -1)).abs(), exact[1], 23)
    kept = (exact[1] >= 0).sum().clamp(min=1) * 6
    # A float32 sum of n terms is off by at most n·2⁻²⁴·Σ|term|, which is n/8 of the 4 eps allowed below.
    summed = terms.amax() * (counts.amax() / 8).clamp(min=1) * 2 * 0.6 * 1.7 / kept
    sizes = (exact[2], exact[3].abs().amax(), summed)
    for mine, theirs, truth, size in zip(ours[2:], expected[2:], exact[2:], sizes, strict=True):
        assert mine.dtype == theirs.dtype
        unit = torch.finfo(mine.dtype).eps * size
        assert (mine - truth).abs().amax() <= (theirs - truth).abs().amax() + 4 * unit


def test_codebook_gradient_far_from_zero() -> None:
    torch.manual_seed(0)
    x, codebook = 1000 + 0.01 * torch.randn(4000, 6), 1000 + 0.01 * torch.randn(8, 6)
    weights = {"commitment_weight": 0.0, "codebook_weight": 1.0}
    ours = run(x, codebook, None, **weights)
    exact = run(x.double(), codebook.double(), "reference", **weights)
    assert (ours[4] - exact[4]).abs().max() <= 1e-6 * exact[4].abs().max()


def test_value_is_the_code_itself_and_the_gradient_passes() -> None:
    torch.manual_seed(0)
    x, codebook = torch.randn(300, 8, requires_grad=True), torch.randn(20, 8)
    quantized, indices, _ = functional.vector_quantize(x, codebook)
    assert torch.equal(quantized, codebook[indices])
    upstream = torch.randn_like(x)
    assert torch.equal(torch.autograd.grad(quantized, x, upstream)[0], upstream)


def test_the_two_weights_act_on_the_two_sides() -> None:
    torch.manual_seed(0)
    x, codebook = torch.randn(40, 8), torch.randn(20, 8)
    alone = functional.vector_quantize(x, codebook, commitment_weight=1, codebook_weight=0)[2]
    for commitment_weight, codebook_weight in ((0.0, 1.0), (1.0, 0.0)):
        u, c = x.clone().requires_grad_(), codebook.clone().requires_grad_()
        weights = {"commitment_weight": commitment_weight, "codebook_weight": codebook_weight}
        loss = functional.vector_quantize(u, c, **weights)[2]
        loss.backward()
        assert torch.equal(loss, alone)
        assert u.grad is not None
        assert c.grad is not None
        assert u.grad.any() == (commitment_weight > 0)
        assert c.grad.any() == (codebook_weight > 0)


def test_a_row_that_is_not_finite_shows_and_stays_out_of_statistics() -> None:
    torch.manual_seed(0)
    x, codebook = torch.randn(30, 4), torch.randn(5, 4)
    x[3, 1] = torch.nan
    x.requires_grad_()
    leaves = (torch.zeros(5, requires_grad=True), torch.zeros(5, 4, requires_grad=True))
    quantized, indices, loss = functional.vector_quantize(x, codebook, statistics=leaves)
    (loss + quantized.sum()).backward()
    assert indices[3] == -1
    assert quantized[3].isnan().all()
    assert loss.isnan()
    assert x.grad is not None
    assert not x.grad[3].isfinite().all()
    counts, sums = leaves[0].grad, leaves[1].grad
    assert counts is not None
    assert sums is not None
    assert counts.sum() == 29
    assert sums.isfinite().all()


def test_a_masked_row_may_hold_anything() -> None:
    x = torch.randn(6, 4)
    x[2] = torch.nan
    x.requires_grad_()
    mask = torch.arange(6) != 2
    quantized, indices, loss = functional.vector_quantize(x, torch.randn(5, 4), mask=mask)
    (loss + quantized.sum()).backward()
    assert indices[2] == -1
    assert loss.isfinite()
    assert x.grad is not None
    assert not quantized[2].any()
    assert not x.grad[2].any()
    nothing = functional.vector_quantize(x.detach(), torch.randn(5, 4), mask=torch.zeros(6, dtype=torch.bool))
    assert nothing[2] == 0


@pytest.mark.parametrize("shape", [(0, 4), (2, 0, 4)])
def test_empty(shape: tuple[int, ...]) -> None:
    x = torch.empty(shape, requires_grad=True)
    quantized, indices, loss = functional.vector_quantize(x, torch.randn(5, 4))
    (quantized.sum() + loss).backward()
    assert quantized.shape == x.shape
    assert indices.shape == x.shape[:-1]
    assert loss == 0


def test_statistics_travel_as_gradients_and_add_up() -> None:
    torch.manual_seed(0)
    x, codebook = torch.randn(60, 4, requires_grad=True), torch.randn(5, 4)
    leaves = (torch.zeros(()).expand(5).requires_grad_(), torch.zeros(()).expand(5, 4).requires_grad_())
    for part in x.split(20):
        quantized, _, loss = functional.vector_quantize(part, codebook, statistics=leaves)
        (1e-3 * quantized.sum() + 5 * loss).backward()
    counts, sums = functional.codebook_statistics(x, functional.nearest_code(x, codebook), 5)
    assert torch.equal(leaves[0].grad, counts)
    torch.testing.assert_close(leaves[1].grad, sums)


@pytest.mark.parametrize("layout", ["rows", "image_map"])
def test_compiles_without_a_break_and_without_recompiling_for_a_new_size(layout: str) -> None:
    make, dim = LAYOUTS[layout]
    codebook = torch.randn(23, 6, requires_grad=True)
    torch._dynamo.reset()
    compiled = torch.compile(functional.vector_quantize, fullgraph=True, dynamic=True, backend="aot_eager")
    for repeat in (1, 3, 5):
        x = torch.cat([make()] * repeat).requires_grad_()
        with torch._dynamo.config.patch(error_on_recompile=repeat == 5):
            ours = compiled(x, codebook, dim=dim)
        expected = functional.vector_quantize(x, codebook, dim=dim)
        for mine, theirs in zip(ours, expected, strict=True):
            assert torch.equal(mine, theirs)
        grads = [torch.autograd.grad(q.sum() + loss, (x, codebook)) for q, _, loss in (ours, expected)]
        for mine, theirs in zip(*grads, strict=True):
            torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_given_the_indices_of_the_search_it_gives_the_same(layout: str, masked: bool) -> None:
    make, dim = LAYOUTS[layout]
    x = make()
    places = x.movedim(dim, -1).shape[:-1]
    codebook = torch.randn(9, x.shape[dim])
    mask = torch.rand(places) > 0.4 if masked else None
    results = []
    for indices in (None, functional.nearest_code(x, codebook, dim=dim)):
        leaves = [torch.zeros(9, requires_grad=True), torch.zeros(9, x.shape[dim], requires_grad=True)]
        y, codes = x.detach().requires_grad_(), codebook.clone().requires_grad_()
        found = functional.vector_quantize(
            y, codes, mask=mask, dim=dim, statistics=(leaves[0], leaves[1]), indices=indices
        )
        (found[0].square().sum() + found[2]).backward()
        results.append([*found, y.grad, codes.grad, *(leaf.grad for leaf in leaves)])
    for searched, given in zip(*results, strict=True):
        torch.testing.assert_close(given, searched)


@pytest.mark.parametrize("impl", ["reference", None])
def test_codes_that_were_chosen_elsewhere(impl: Any) -> None:
    x, codebook = torch.randn(4, 3), torch.randn(9, 3)
    indices = torch.tensor([8, 0, -1, 3])
    quantized, returned, loss = functional.vector_quantize(x, codebook, indices=indices, impl=impl)
    assert torch.equal(returned, indices)
    assert torch.equal(quantized[[0, 1, 3]], codebook[[8, 0, 3]])
    assert quantized[2].isnan().all()
    assert loss.isnan()
    with pytest.raises(TypeError, match=r"indices must be torch.int64; got torch.float32"):
        functional.vector_quantize(x, codebook, indices=x[:, 0])
