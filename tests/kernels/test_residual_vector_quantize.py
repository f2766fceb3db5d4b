"""residual_vector_quantize, its gradient and its statistics, stage by stage against float64.

Two exact searches may differ where two codes are equally near within float32's rounding, and every stage after follows
another path. So each stage is judged from the residuals that the kernel's own indices lead to, in plain float32.
"""

import pytest
import torch

from aevae_fast.kernels.codebook_statistics import CHUNK
from aevae_fast.kernels.residual_configuration import residual_config
from aevae_fast.kernels.residual_stages import prepare_stages
from aevae_fast.kernels.residual_vector_quantize import (
    residual_statistics,
    residual_vector_quantize,
    residual_vector_quantize_backward,
)

from .cases import DTYPES, adversarial, check_indices, scores, view

# One unit in the last place: the interpreter cuts fp32 to bf16 where hardware rounds to nearest.
ULP = {"fp32": 2.0**-23, "bf16": 2.0**-7, "fp16": 2.0**-10}
SHAPES = [  # each is there for a path: B, S, D, sizes
    pytest.param(1, 5, 1, [1], id="one code of one number"),
    pytest.param(1, 130, 3, [2, 2, 2], id="D below 4, blocks of rows"),
    pytest.param(2, 33, 8, [100, 7, 300], id="sizes differ, batch boundary in a block"),
    pytest.param(1, 40, 17, [33, 40], id="D one past a tensor-core step"),
    pytest.param(1, 20, 64, [260, 20], id="several tiles, two chunks of D"),
    pytest.param(1, 20, 100, [40, 33], id="D padded, four chunks"),
    pytest.param(1, 9, 300, [30, 20], id="stage by stage"),
]


def book(dimension, sizes, device="cpu"):
    """Codebooks one after the other, each about half as far as the one before: [ΣK, D]."""
    return torch.cat([torch.randn(size, dimension) * 0.5**q for q, size in enumerate(sizes)]).to(device)


def residuals(x, codebooks, sizes, indices):
    """r_0 … r_Q that these indices lead to, each rounded to float32 once: Q + 1 of [B, S, D]."""
    found = [x.float()]
    for q, codebook in enumerate(codebooks.split(sizes)):
        chosen = indices[..., q]
        found.append(found[-1] - torch.where((chosen >= 0)[..., None], codebook[chosen.clamp(min=0)], 0.0))
    return found


def check(x, codebooks, sizes, active=None, mask=None):
    """Everything that a call returns, of finite rows."""
    quantized, indices, errors = residual_vector_quantize(x, codebooks, sizes, active, mask)
    assert quantized.dtype == x.dtype
    assert quantized.stride() == torch.empty_like(x).stride()
    assert indices.shape == (*x.shape[:2], len(sizes))
    assert errors.dtype == torch.float32
    keep = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
    used = len(sizes) if active is None else int(active.clamp(0, len(sizes)))
    assert (indices[~keep] == -1).all()
    assert (indices[..., used:] == -1).all()
    rows = residuals(x, codebooks, sizes, indices)
    total = torch.zeros_like(rows[0])
    for q, codebook in enumerate(codebooks.split(sizes)):
        if q >= used:
            assert errors[q] == 0
            continue
        check_indices(indices[keep][:, q], rows[q][keep], codebook)
        total += torch.where(keep[..., None], codebook[indices[..., q].clamp(min=0)], 0.0)
        truth = rows[q + 1][keep].double().square().sum()
        assert abs(errors[q].double() - truth) <= (x.shape[-1] + 40) * 2.0**-24 * truth
    ulp = torch.finfo(x.dtype).eps if x.dtype != torch.float32 else 0.0
    assert ((quantized.double() - total.double()).abs() <= ulp * total.double().abs() + 1e-7 * (ulp > 0)).all()
    return quantized, indices, errors


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("batch", "length", "dimension", "sizes"), SHAPES)
def test_each_stage_is_exact(batch, length, dimension, sizes, dtype, device):
    torch.manual_seed(0)
    x = torch.randn(batch, length, dimension).to(DTYPES[dtype]).to(device)
    check(x, book(dimension, sizes, device), sizes)


@pytest.mark.parametrize(
    ("active", "layout"), [(None, "channels"), (0, "rows"), (2, "slice"), (2, "channels"), (3, "rows"), (9, "slice")]
)
def test_masks_active_stages_and_strides(active, layout, device):
    torch.manual_seed(1)
    sizes = [20, 5, 33]
    x = view(torch.randn(2, 35, 24).to(device), layout)
    mask = torch.rand(2, 35).to(device) > 0.3
    check(x, book(24, sizes, device), sizes, None if active is None else torch.tensor(active, device=device), mask)


@pytest.mark.parametrize("dimension", [8, 300], ids=["one kernel", "stage by stage"])
def test_active_without_a_mask(dimension, device):
    torch.manual_seed(2)
    sizes = [20, 5, 3]
    x, codebooks = torch.randn(1, 20, dimension).to(device), book(dimension, sizes, device)
    check(x, codebooks, sizes, torch.tensor(2, device=device))


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "name",
    ["offset", "tiny codes", "outlier code", "overflowing code", "outlier row", "one code everywhere", "midway",
     "almost equal codes"],
)  # fmt: skip
def test_adversarial(name, dtype, device):
    rows, codebook = adversarial(name)
    torch.manual_seed(3)
    rest = book(16, [40, 40], device) * 0.01
    rows = rows[:, : 70 if dtype == "fp32" else 20]
    check(rows.to(DTYPES[dtype]).to(device), torch.cat([codebook.to(device), rest]), [len(codebook), 40, 40])


@pytest.mark.parametrize("name", ["duplicated codes", "one code everywhere", "midway"])
def test_ties_go_to_the_lowest_index_at_every_stage(name, device):
    rows, codebook = adversarial(name)
    rows, codebook = rows.round().to(device), codebook[:110].round().to(device)
    rows = rows[:, :10]
    sizes, codebooks = [len(codebook)] * 2, codebook.repeat(2, 1)
    _, indices, _ = residual_vector_quantize(rows, codebooks, sizes, None, None)
    for q, residual in enumerate(residuals(rows, codebooks, sizes, indices)[:-1]):
        truth = scores(residual, codebook, "euclidean")
        first = torch.stack([torch.nonzero(row == row.min())[0, 0] for row in truth])
        assert torch.equal(indices[0, :, q].cpu(), first)


@pytest.mark.parametrize(
    ("dimension", "bad"),
    [(12, float("nan")), (12, float("inf")), (12, -float("inf")), pytest.param(300, float("nan"), id="stage by stage")],
)
def test_rows_that_are_not_finite(bad, dimension, device):
    torch.manual_seed(4)
    sizes = [10, 8]
    x, codebooks = torch.randn(1, 20, dimension).to(device), book(dimension, sizes, device)
    expected, expected_indices, _ = residual_vector_quantize(x, codebooks, sizes, None, None)
    x[0, 7, 3] = bad
    quantized, indices, errors = residual_vector_quantize(x, codebooks, sizes, torch.tensor(1, device=device), None)
    assert (indices[0, 7] == -1).all()
    assert quantized[0, 7].isnan().all()
    assert errors[0].isnan()
    assert errors[1] == 0
    quantized, indices, errors = residual_vector_quantize(x, codebooks, sizes, None, None)
    assert errors.isnan().all()
    others = torch.arange(20) != 7
    assert torch.equal(quantized[0, others], expected[0, others])
    assert torch.equal(indices[0, others], expected_indices[0, others])
    mask = others[None].to(device)
    quantized, indices, errors = residual_vector_quantize(x, codebooks, sizes, None, mask)
    assert (quantized[0, 7] == 0).all()
    assert (indices[0, 7] == -1).all()
    assert errors.isfinite().all()


def test_many_stages(device):
    torch.manual_seed(5)
    sizes = [6] * 11
    check(torch.randn(1, 20, 4).to(device), book(4, sizes, device), sizes)


def test_repeats_bit_for_bit(device):
    torch.manual_seed(6)
    x, codebooks = torch.randn(2, 150, 8).to(device), book(8, [40, 30], device)
    first, again = (residual_vector_quantize(x, codebooks, [40, 30], None, None) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("shape", [(0, 5), (3, 0)])
def test_empty(shape, device):
    sizes = [7, 3]
    x, codebooks = torch.empty(*shape, 4, device=device), book(4, sizes, device)
    quantized, indices, errors = residual_vector_quantize(x, codebooks, sizes, None, None)
    assert quantized.shape == x.shape
    assert indices.shape == (*shape, 2)
    assert torch.equal(errors, torch.zeros(2, device=device))
    assert residual_vector_quantize_backward(x, x, codebooks, sizes, indices, errors).shape == x.shape
    counts, sums = residual_statistics(x, codebooks, sizes, indices, False)
    assert torch.equal(counts, torch.zeros(10, device=device))
    assert torch.equal(sums, torch.zeros(10, 4, device=device))


def random_indices(length, sizes, device):
    """Of two batches, with rows that use fewer stages and rows that use none: [2, length, Q]."""
    indices = torch.stack([torch.randint(size, (2, length)) for size in sizes], -1)
    used = torch.randint(len(sizes) + 1, (2, length, 1))
    return torch.where(torch.arange(len(sizes)) < used, indices, -1).to(device)


@pytest.mark.parametrize(("layout", "dtype"), [("rows", "bf16"), ("channels", "fp32"), ("slice", "fp16")])
@pytest.mark.parametrize("dimension", [1, 17, 64, 200])
def test_backward(dimension, dtype, layout, device):
    torch.manual_seed(7)
    sizes = [30, 4, 20]
    x = view(torch.randn(2, 37, dimension).to(DTYPES[dtype]).to(device), layout)
    grad = view(torch.randn(2, 37, dimension).to(DTYPES[dtype]).to(device), "channels" if layout == "rows" else "rows")
    codebooks, indices = book(dimension, sizes, device), random_indices(37, sizes, device)
    scales = torch.rand(3).to(device)
    grad_x = residual_vector_quantize_backward(grad, x, codebooks, sizes, indices, scales)
    assert grad_x.dtype == x.dtype
    truth, size = grad.double(), grad.double().abs()
    for q, residual in enumerate(residuals(x, codebooks, sizes, indices)[1:]):
        step = torch.where((indices[..., q] >= 0)[..., None], scales[q].double() * residual.double(), 0.0)
        truth, size = truth + step, size + step.abs()
    truth = torch.where((indices >= 0).any(-1)[..., None], truth, 0.0)
    assert (
        (grad_x.double() - truth).abs() <= ULP[dtype] * truth.abs() + 6 * 2.0**-24 * size + 1e-7 * (dtype == "fp16")
    ).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_backward_shows_what_is_not_finite(bad, device):
    torch.manual_seed(8)
    sizes = [30, 4]
    x, grad = torch.randn(2, 20, 12).to(device), torch.randn(2, 20, 12).to(device)
    codebooks, indices = book(12, sizes, device), random_indices(20, sizes, device)
    x[0, 7, 3], indices[0, 7] = bad, -1
    grad_x = residual_vector_quantize_backward(grad, x, codebooks, sizes, indices, torch.rand(2).to(device))
    assert torch.nonzero(~grad_x.isfinite()).tolist() == [[0, 7, 3]]


@pytest.mark.parametrize("center", [False, True], ids=["residuals", "what they leave over"])
@pytest.mark.parametrize("layout", ["rows", "channels", "slice"])
@pytest.mark.parametrize(("length", "dimension", "sizes"), [(5, 1, [1]), (77, 17, [3, 33, 5]), (200, 70, [2, 2])])
def test_statistics(length, dimension, sizes, layout, center, device):
    torch.manual_seed(9)
    x = view((1000 + 0.01 * torch.randn(2, length, dimension)).to(device), layout)
    codebooks = book(dimension, sizes, device)
    codebooks[: sizes[0]] += 1000
    indices = random_indices(length, sizes, device)
    counts, sums = residual_statistics(x, codebooks, sizes, indices, center)
    again = residual_statistics(x, codebooks, sizes, indices, center)
    assert torch.equal(again[0], counts)
    assert torch.equal(again[1], sums)
    assert counts.dtype == sums.dtype == torch.float32
    rows = residuals(x, codebooks, sizes, indices)
    for q, (count, total) in enumerate(zip(counts.split(sizes), sums.split(sizes), strict=True)):
        keep = indices[..., q] >= 0
        chosen, values = indices[..., q][keep], rows[q + center][keep].double()
        assert torch.equal(count.long(), torch.bincount(chosen, minlength=sizes[q]))
        truth = torch.zeros_like(total, dtype=torch.float64).index_add_(0, chosen, values)
        size = torch.zeros_like(truth).index_add_(0, chosen, values.abs())
        assert ((total.double() - truth).abs() <= (CHUNK + 64) * 2.0**-24 * size).all()


def test_statistics_skip_rows_that_are_not_finite(device):
    torch.manual_seed(10)
    sizes = [6, 4]
    x, codebooks, indices = torch.randn(2, 50, 4).to(device), book(4, sizes, device), random_indices(50, sizes, device)
    x[0, 7], indices[0, 7] = float("nan"), -1
    counts, sums = residual_statistics(x, codebooks, sizes, indices, False)
    assert sums.isfinite().all()
    assert counts.sum() == (indices >= 0).sum()


def test_a_stage_of_too_many_codes_is_an_error():
    sizes = [5, 2**26]
    codebooks = torch.empty(sum(sizes), 16, device="meta")
    with pytest.raises(ValueError, match=r"codebooks: expected fewer than 2\^30 .* got \[67108864, 16\]"):
        prepare_stages(codebooks, sizes, residual_config(16, "sm_90"))


@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_100", "gfx942", "cpu"])
def test_dimensions_in_one_kernel(arch):
    for dimension in (1, 8, 16, 17, 64, 100, 128):
        config = residual_config(dimension, arch)
        assert config is not None
        assert config.block_d >= dimension
    assert residual_config(300, arch) is None
