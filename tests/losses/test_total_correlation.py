"""The KL's three parts: against the formulas with the [B, B, D] tensor, in memory, compiled, errors."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from aevae_fast.losses import total_correlation_terms

KINDS: dict[str, dict[str, Any]] = {
    "weighted": {"sampling": "weighted"},
    "stratified": {"sampling": "stratified"},
    "reference": {"sampling": "stratified", "compat": "reference"},
    "ports": {"sampling": "stratified", "compat": "ports"},
}


def posteriors(batch: int, dim: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """z, mean and logvar, each z of its own posterior."""
    generator = torch.Generator().manual_seed(batch + dim)
    mean, logvar, noise = (torch.randn(batch, dim, generator=generator, dtype=torch.float64) for _ in range(3))
    return (mean + torch.exp(logvar / 2) * noise).to(dtype), mean.to(dtype), logvar.to(dtype)


def weights(batch: int, dataset_size: int, kind: str) -> Tensor:
    """w_bn, `[B, B]`, float64: as the docstring has them, and as the authors' code writes them."""
    m, n = batch - 1, dataset_size
    other = (n - m) / (n * m)
    if kind == "weighted":
        return torch.full((batch, batch), 1 / (n * batch), dtype=torch.float64)
    w = torch.full((batch, batch), 1 / m, dtype=torch.float64)
    if kind == "stratified":
        for row in range(batch):
            w[row, row], w[row, (row + 1) % batch] = 1 / n, other
    else:
        flat = w.view(-1)
        flat[:: m + 1], flat[1 :: m + 1], w[m - 1, 0] = 1 / n, other, other
    return w


def naive(z: Tensor, mean: Tensor, logvar: Tensor, dataset_size: int, kind: str) -> Tensor:
    """The three terms `[3]` by the whole [B, B, D] tensor, in z's dtype, float32 at the least."""
    dtype = torch.promote_types(z.dtype, torch.float32)
    z, mean, logvar = z.to(dtype), mean.to(dtype), logvar.to(dtype)
    log_w = weights(len(z), dataset_size, kind).log().to(dtype)
    normal = torch.distributions.Normal(mean, torch.exp(logvar / 2))
    each = normal.log_prob(z[:, None])
    counted = z.shape[1] if kind == "ports" else 1
    joint = (each.sum(2) + counted * log_w).logsumexp(1)
    product = (each + log_w[:, :, None]).logsumexp(1).sum(1)
    prior = torch.distributions.Normal(torch.zeros_like(mean), 1).log_prob(z).sum(1)
    return torch.stack([(normal.log_prob(z).sum(1) - joint).mean(), (joint - product).mean(), (product - prior).mean()])


def with_gradients(terms: Callable[..., Any], tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """The terms `[3]`, and the gradients of an uneven sum of them."""
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    found = torch.stack(tuple(terms(*leaves)))
    (found * torch.tensor([1.0, 6.0, -0.5])).sum().backward()
    return [found.detach(), *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize(
    ("batch", "impl"),
    [(2, None), (3, None), (17, None), (17, "reference"), (17, "triton")],
    ids=["one_other", "one_rest", "many", "many-reference", "many-triton"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_formulas_in_float64(kind: str, batch: int, impl: Any) -> None:
    tensors = posteriors(batch, 5)
    truth = with_gradients(lambda *t: naive(*t, 40, kind), tuple(t.double() for t in tensors))
    plain = with_gradients(lambda *t: naive(*t, 40, kind), tensors)
    found = with_gradients(lambda *t: total_correlation_terms(*t, 40, impl=impl, **KINDS[kind]), tensors)
    for ours, same, exact in zip(found, plain, truth, strict=True):
        assert ours.dtype == torch.float32
        allowed = 2 * (same - exact).abs().max() + 4e-6 * exact.abs().max()
        assert (ours - exact).abs().max() <= allowed


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_inputs_are_computed_in_float32(kind: str, dtype: torch.dtype) -> None:
    tensors = posteriors(6, 5, dtype)
    truth = with_gradients(lambda *t: naive(*t, 40, kind), tuple(t.double() for t in tensors))
    found = with_gradients(lambda *t: total_correlation_terms(*t, 40, **KINDS[kind]), tensors)
    assert found[0].dtype == torch.float32
    assert (found[0] - truth[0]).abs().max() <= 4e-6 * truth[0].abs().max()
    for ours, exact in zip(found[1:], truth[1:], strict=True):
        assert ours.dtype == dtype
        assert (ours - exact).abs().max() <= 2 * torch.finfo(dtype).eps * exact.abs().max()


@pytest.mark.parametrize("kind", KINDS)
def test_the_terms_add_up_to_the_kl_of_the_samples(kind: str) -> None:
    z, mean, logvar = posteriors(9, 4, torch.float64)
    q, p = torch.distributions.Normal(mean, torch.exp(logvar / 2)), torch.distributions.Normal(torch.zeros(4), 1)
    kl = (q.log_prob(z) - p.log_prob(z)).sum(1).mean()
    torch.testing.assert_close(sum(total_correlation_terms(z, mean, logvar, 50, **KINDS[kind])), kl)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_by_differences(kind: str) -> None:
    tensors = [tensor.requires_grad_() for tensor in posteriors(4, 3, torch.float64)]
    assert torch.autograd.gradcheck(lambda *t: tuple(total_correlation_terms(*t, 11, **KINDS[kind])), tensors)


def test_stratified_weights_are_unbiased_and_the_ports_are_not() -> None:
    """The mean weight of each posterior over all batches that hold the point's own must be 1/N: another is in such a
    batch with probability M / (N - 1)."""
    batch, size = 5, 12
    for kind, unbiased in {"stratified": True, "reference": False}.items():
        w = weights(batch, size, kind)
        own, others = w.diagonal(), (w.sum(1) - w.diagonal()) / (size - 1)
        right = torch.allclose(own, torch.tensor(1 / size).double()) and torch.allclose(others, own)
        assert right == unbiased


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that an operation gives."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_size_b_by_b_is_kept(kind: str) -> None:
    tensors = [tensor.requires_grad_() for tensor in posteriors(256, 3)]
    with Largest() as largest:
        sum(total_correlation_terms(*tensors, 1000, **KINDS[kind])).backward()
    assert tensors[0].numel() <= largest.elements <= 2 * tensors[0].numel()


@pytest.mark.parametrize("kind", ["weighted", "ports"])
def test_compiles_for_batches_of_several_sizes(kind: str) -> None:
    def terms(*tensors: Tensor) -> Tensor:
        return torch.stack(total_correlation_terms(*tensors, 40, **KINDS[kind]))

    torch._dynamo.reset()
    compiled = torch.compile(terms, fullgraph=True, backend="aot_eager")
    for batch in (6, 9):
        found, expected = (with_gradients(run, posteriors(batch, 3)) for run in (compiled, terms))
        torch.testing.assert_close(found, expected)


Z = torch.zeros(4, 3)
BAD: dict[str, tuple[type[Exception], str, Callable[[], Any]]] = {
    "batch_of_1": (
        ValueError,
        "z must be a batch of at least 2.*; got 1",
        lambda: total_correlation_terms(Z[:1], Z[:1], Z[:1], 9),
    ),
    "empty": (ValueError, "at least 2.*; got 0", lambda: total_correlation_terms(Z[:0], Z[:0], Z[:0], 9)),
    "dataset_below_batch": (
        ValueError,
        "dataset_size must be at least the batch, 4; got 3",
        lambda: total_correlation_terms(Z, Z, Z, 3),
    ),
    "dataset_float": (
        TypeError,
        "dataset_size must be an int; got float",
        lambda: total_correlation_terms(Z, Z, Z, 9.0),
    ),  # type: ignore[arg-type]
    "dataset_1": (ValueError, "dataset_size must be at least 2; got 1", lambda: total_correlation_terms(Z, Z, Z, 1)),
    "sampling": (
        ValueError,
        "sampling must be one of 'weighted', 'stratified'; got 'mss'",
        lambda: total_correlation_terms(Z, Z, Z, 9, sampling="mss"),  # type: ignore[arg-type]
    ),
    "compat": (
        ValueError,
        "compat must be None, 'reference', 'ports'; got 'x'",
        lambda: total_correlation_terms(Z, Z, Z, 9, sampling="stratified", compat="x"),  # type: ignore[arg-type]
    ),
    "compat_weighted": (
        ValueError,
        "sampling='stratified'; got 'reference' with 'weighted'",
        lambda: total_correlation_terms(Z, Z, Z, 9, compat="reference"),
    ),
    "shape": (ValueError, r"mean must have shape \[B, D\]", lambda: total_correlation_terms(Z, Z[:3], Z, 9)),
    "axes": (ValueError, r"z must have shape \[B, D\]", lambda: total_correlation_terms(Z[0], Z[0], Z[0], 9)),
    "type": (TypeError, "logvar must be a torch.Tensor; got float", lambda: total_correlation_terms(Z, Z, 0.0, 9)),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case: str) -> None:
    kind, message, call = BAD[case]
    with pytest.raises(kind, match=message):
        call()
