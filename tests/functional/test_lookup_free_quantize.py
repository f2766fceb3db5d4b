"""Lookup-free quantization: signs, indices, and entropies that agree with all codes written out."""

import itertools
import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from aevae_fast import functional, reference
from aevae_fast.functional.lookup_free_quantize import check_group_size

IMPLS = ["reference", "portable", "triton"]
ULP = {torch.float32: 2.0**-23, torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10}


def codes(bits: int, scale: float = 1.0) -> Tensor:
    """All codes, the first bit the highest, [2^bits, bits] float64."""
    return scale * torch.tensor(list(itertools.product((-1.0, 1.0), repeat=bits)), dtype=torch.float64)


def entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p).sum(-1)


def by_brute_force(x: Tensor, scale: float, inv_temperature: float) -> tuple[Tensor, Tensor]:
    """E[H(p)] and H(E[p]) of rows x [N, bits] from the softmax over all codes."""
    p = (2 * inv_temperature * x.double() @ codes(x.shape[-1], scale).T).softmax(-1)
    return entropy(p).mean(), entropy(p.mean(0))


def total(found: functional.LookupFree, weight: Tensor) -> Tensor:
    losses = 2 * found.commitment + 0.7 * found.per_sample_entropy - 0.3 * found.batch_entropy
    return (found.quantized * weight).sum() + losses


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("bits", [1, 4, 7])
def test_against_all_codes_written_out(bits: int, impl: Any) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 20, bits)
    found = functional.lookup_free_quantize(x, scale=0.5, inv_temperature=0.8, impl=impl)
    table = codes(bits, 0.5)
    nearest = torch.cdist(x.double().flatten(0, 1), table).argmin(-1).view(3, 20)
    assert torch.equal(found.indices, nearest)
    assert torch.equal(found.quantized.detach().double(), table[nearest])
    exact = by_brute_force(x.flatten(0, 1), 0.5, 0.8)
    torch.testing.assert_close(found.per_sample_entropy.double(), exact[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(found.batch_entropy.double(), exact[1], rtol=1e-6, atol=0)
    torch.testing.assert_close(
        found.commitment.double(), (x - found.quantized).double().square().mean(), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("impl", IMPLS)
def test_gradients_of_all_codes_written_out(impl: Any) -> None:
    torch.manual_seed(1)
    x, weight = torch.randn(30, 5), torch.randn(30, 5)
    leaf, wide = x.clone().requires_grad_(), x.double().requires_grad_()
    total(functional.lookup_free_quantize(leaf, inv_temperature=0.3, impl=impl), weight).backward()
    per_sample, batch = by_brute_force(wide, 1.0, 0.3)
    sign = torch.where(x > 0, 1.0, -1.0).double()
    ((wide * weight).sum() + 2 * (wide - sign).square().mean() + 0.7 * per_sample - 0.3 * batch).backward()
    torch.testing.assert_close(leaf.grad.double(), wide.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("group", [1, 3, 4, 7])
@pytest.mark.parametrize("impl", IMPLS)
def test_groups_bound_the_batchs_entropy_from_above(group: int, impl: Any) -> None:
    """Σ_g H(E[p_g]), each group by brute force; the last group may be smaller."""
    torch.manual_seed(2)
    x = torch.randn(50, 7) + torch.randn(50, 1)
    found = functional.lookup_free_quantize(x, inv_temperature=0.4, group_size=group, impl=impl)
    expected = sum(by_brute_force(part, 1.0, 0.4)[1] for part in x.split(group, -1))
    torch.testing.assert_close(found.batch_entropy.double(), expected, rtol=1e-6, atol=0)
    exact = by_brute_force(x, 1.0, 0.4)[1]
    assert found.batch_entropy >= exact - 1e-5
    assert (found.batch_entropy - exact > 0.01) == (group < 7)


@pytest.mark.parametrize("impl", ["portable", "triton"])
@pytest.mark.parametrize("layout", ["rows", "channels", "strided"])
@pytest.mark.parametrize("dtype", ULP)
def test_against_float64(dtype: torch.dtype, layout: str, impl: Any) -> None:
    """Groups of 4 and 2 bits in two codebooks; what stands in masked places is never read."""
    torch.manual_seed(3)
    rows, weight = torch.randn(2, 5, 7, 12).to(dtype), torch.randn(2, 5, 7, 12).to(dtype)
    mask = torch.rand(2, 5, 7) > 0.3
    rows[~mask] = torch.nan
    x, dim = rows, -1
    if layout == "channels":
        x, dim, weight = rows.movedim(-1, 1).contiguous(), 1, weight.movedim(-1, 1)
    if layout == "strided":
        x = torch.full((2, 5, 14, 25), torch.nan, dtype=dtype)
        x[:, :, ::2, 1::2] = rows
        x = x[:, :, ::2, 1::2]
    options: dict[str, Any] = {
        "inv_temperature": 0.5,
        "scale": 0.8,
        "group_size": 4,
        "codebooks": 2,
        "mask": mask,
        "dim": dim,
    }
    steps = {}
    for name, tensor, how in (("ours", x, impl), ("same", x.float(), "reference"), ("truth", x.double(), "reference")):
        leaf = tensor.detach().requires_grad_()
        found = functional.lookup_free_quantize(leaf, **options, impl=how)
        total(found, weight.to(tensor)).backward()
        steps[name] = (found, leaf.grad)
    (ours, grad), (same, same_grad), (truth, true_grad) = steps["ours"], steps["same"], steps["truth"]
    assert ours.quantized.dtype == dtype
    assert torch.equal(ours.indices, truth.indices)
    assert ours.indices.shape == (2, 5, 7, 2)
    assert (ours.indices == -1).all(-1).eq(~mask).all()
    assert ((ours.quantized.double() - truth.quantized).abs() <= ULP[dtype]).all()
    for name in ("commitment", "per_sample_entropy", "batch_entropy"):
        mine, theirs, exact = (getattr(step, name).detach().double() for step in (ours, same, truth))
        assert (mine - exact).abs() <= (theirs - exact).abs() + 4 * 2.0**-23 * exact, name
    allowed = (same_grad.double() - true_grad).abs().max() + 4 * 2.0**-23 * true_grad.abs().max()
    # Two roundings to the dtype: each of the two operations rounds its own gradient, autograd their sum.
    assert ((grad.double() - true_grad).abs() <= allowed + 3 * ULP[dtype] * (true_grad.abs() + 0.1)).all()


@pytest.mark.parametrize("impl", IMPLS)
def test_many_bits(impl: Any) -> None:
    """40 bits: an index beyond 32 bits, entropies of bits that are all fair, of which no table could be made."""
    x = torch.zeros(4, 40)
    x[1], x[2, :3] = 1.0, 1.0
    found = functional.lookup_free_quantize(x, inv_temperature=1e-6, group_size=4, impl=impl)
    assert found.indices.tolist() == [0, 2**40 - 1, 7 * 2**37, 0]
    ln2 = torch.tensor(2.0).log()
    torch.testing.assert_close(found.per_sample_entropy, 40 * ln2)
    torch.testing.assert_close(found.batch_entropy, 40 * ln2)


def test_eighteen_bits_exactly() -> None:
    """One group of 18 bits: H(E[p]) over 262,144 codes, of rows so sure of their codes that it is that of a count."""
    x = torch.where(torch.arange(8)[:, None] % 2 == 0, 1.0, -1.0).expand(8, 18) * torch.ones(8, 18)
    x[0, 17] = -1.0
    leaf = x.clone().requires_grad_()
    found = functional.lookup_free_quantize(leaf, group_size=18)
    shares = torch.tensor([4 / 8, 3 / 8, 1 / 8])
    torch.testing.assert_close(found.batch_entropy, entropy(shares))
    assert found.per_sample_entropy == 0
    found.batch_entropy.backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("impl", IMPLS)
def test_sure_bits_keep_their_entropy(impl: Any) -> None:
    """At large logits a bit's entropy is (1 + a)·exp(-a): tiny, and right."""
    x = torch.full((1, 2), 0.06)
    found = functional.lookup_free_quantize(x, inv_temperature=100.0, impl=impl)
    a = torch.tensor(24.0, dtype=torch.float64)
    torch.testing.assert_close(found.per_sample_entropy.double(), 2 * (1 + a) * torch.exp(-a), rtol=2e-5, atol=0)


@pytest.mark.parametrize("impl", IMPLS)
def test_zero_not_finite_masked_away_and_empty(impl: Any) -> None:
    x = torch.tensor([[0.0, 1.0], [-0.0, -1.0], [torch.inf, 1.0], [torch.nan, 1.0]])
    found = functional.lookup_free_quantize(x, impl=impl)
    assert found.indices.tolist() == [1, 0, -1, -1]
    assert found.quantized[:2].tolist() == [[-1.0, 1.0], [-1.0, -1.0]]
    assert found.quantized[2:].isnan().all()
    assert not found.commitment.isfinite()
    assert not (found.per_sample_entropy - found.batch_entropy).isfinite()
    leaf = x.clone().requires_grad_()
    none = functional.lookup_free_quantize(leaf, mask=torch.zeros(4).bool(), impl=impl)
    total(none, torch.ones(4, 2)).backward()
    assert [float(loss.detach()) for loss in none[2:]] == [0.0, 0.0, 0.0]
    assert not leaf.grad.any()
    for shape in ((0, 3), (2, 0, 3)):
        leaf = torch.empty(shape, requires_grad=True)
        found = functional.lookup_free_quantize(leaf, impl=impl)
        total(found, torch.ones(shape)).backward()
        assert found.indices.shape == shape[:-1]
        assert [float(loss.detach()) for loss in found[2:]] == [0.0, 0.0, 0.0]


def test_without_entropy() -> None:
    x = torch.randn(20, 6, requires_grad=True)
    found = functional.lookup_free_quantize(x, entropy=False)
    assert [float(found.per_sample_entropy), float(found.batch_entropy)] == [0.0, 0.0]
    total(found, torch.zeros(20, 6)).backward()
    torch.testing.assert_close(x.grad, 2 * 2 * (x - found.quantized).detach() / 120)


def test_under_autocast_products_stay_float32() -> None:
    x = torch.randn(64, 10)
    plain = functional.lookup_free_quantize(x, inv_temperature=0.3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = functional.lookup_free_quantize(x, inv_temperature=0.3)
    for mine, theirs in zip(cast, plain, strict=True):
        assert torch.equal(mine, theirs)


def test_the_sum_over_rows_does_not_depend_on_threads() -> None:
    x = torch.randn(1, 5000, 9)
    tables = []
    threads = torch.get_num_threads()
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            tables.append(torch.ops.aevae_fast.code_probabilities(x, None, 2.0, 9, 9))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*tables)


def test_nothing_has_as_many_entries_as_rows_times_codes() -> None:
    """18 bits: what is allocated is far below one [N, 2^18] tensor, in forward and backward."""
    x = torch.randn(256, 18, requires_grad=True)
    with torch.profiler.profile(profile_memory=True) as profile:
        total(functional.lookup_free_quantize(x), torch.ones(256, 18)).backward()
    largest = max(abs(event.self_cpu_memory_usage) for event in profile.events())
    assert largest < 256 * 2**18 // 8


@pytest.mark.parametrize("group", [3, 7])
@pytest.mark.parametrize("strided", [False, True], ids=["rows", "channel_first"])
def test_opcheck(strided: bool, group: int) -> None:
    x = torch.randn(2, 14, 11).transpose(1, 2) if strided else torch.randn(1, 11, 14)
    mask, one = torch.rand(x.shape[:2]) > 0.5, torch.tensor(0.3)
    ops = torch.ops.aevae_fast
    table = ops.code_probabilities(x, mask, 2.0, 7, group)
    torch.testing.assert_close(table, reference.code_probabilities(x, 2.0, 7, group, mask))
    opcheck(ops.lookup_free_quantize.default, (x, mask, 1.0, 2.0))
    opcheck(ops.lookup_free_quantize_backward.default, (torch.randn(x.shape), x, mask, 1.0, 2.0, one, one))
    opcheck(ops.code_probabilities.default, (x, mask, 2.0, 7, group))
    opcheck(ops.code_probabilities_backward.default, (torch.randn(table.shape), x, mask, 2.0, 7, group))


@pytest.mark.parametrize(
    ("bits", "given", "size"),
    [(1, None, 1), (12, None, 12), (13, None, 7), (18, None, 9), (20, None, 7), (6, 9, 6), (18, 5, 5)],
)
def test_size_of_a_group(bits: int, given: int | None, size: int) -> None:
    assert check_group_size(given, bits) == size


X = torch.randn(5, 4)
BAD: list[tuple[type[Exception], str, Any]] = [
    (ValueError, "scale must be above 0; got 0", {"scale": 0}),
    (ValueError, "inv_temperature must be above 0; got -1", {"inv_temperature": -1}),
    (ValueError, "group_size must be None or a number of bits from 1 to 20; got 21", {"group_size": 21}),
    (ValueError, "group_size must be None", {"group_size": 2.5}),
    (ValueError, "codebooks must be None or a number of at least 1; got 0", {"codebooks": 0}),
    (ValueError, r"x must hold 3 parts of equal size along dim -1; got x of shape \(5, 4\)", {"codebooks": 3}),
    (ValueError, "x must hold vectors of 1 to 62 entries along dim -1; got 63", {"x": torch.randn(2, 63)}),
    (TypeError, "mask must be torch.bool", {"mask": torch.ones(5)}),
    (TypeError, "x must be float16", {"x": torch.ones(5, 4).long()}),
]


@pytest.mark.parametrize(("error", "message", "arguments"), BAD, ids=[re.sub(r"\W+", "_", b[1])[:40] for b in BAD])
def test_bad_input_is_named(error: type[Exception], message: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(error, match=message):
        functional.lookup_free_quantize(**{"x": X, **arguments})
