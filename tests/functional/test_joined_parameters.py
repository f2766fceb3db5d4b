"""Mean and log-variance given as one tensor: as two chunks of it, but for the gradient, which is written as one."""

from typing import Any

import pytest
import torch
from functorch.compile import make_boxed_func
from hypothesis import given, settings
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch.library import opcheck
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from aevae_fast import GaussianLatent, functional

from .test_latent_layouts import IN_PLACE, tensors


class Copies(TorchDispatchMode):
    """The operations that made or filled a tensor of at least so many elements without being a kernel of ours."""

    def __init__(self, elements: int) -> None:
        super().__init__()
        self.elements, self.found = elements, []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        own = func.namespace == "aevae_fast" or func.is_view or "empty" in func.name()
        if not own and isinstance(result, Tensor) and result.numel() >= self.elements:
            self.found.append(func.name())
        return result


def both_ways(x: Tensor, dim: int, elements: int, **options: Any) -> tuple[list[Tensor], list[Tensor], list[str]]:
    """z, KL and gradients: of x as one; of its chunks; and what the first gradient copied."""
    results, copies = [], Copies(elements)
    for parameters in (lambda leaf: (leaf, None), lambda leaf: leaf.chunk(2, dim)):
        leaf = x.detach().requires_grad_()
        torch.manual_seed(5)
        z, kl = functional.reparameterize_kl(*parameters(leaf), dim=dim, **options)
        upstream = torch.ones_like(z).cumsum(-1), torch.full_like(kl, 1.7)
        with copies if not results else Copies(0):
            (grad,) = torch.autograd.grad((z, kl), leaf, upstream)
        results.append([z, kl, grad])
    return *results, copies.found


@pytest.mark.parametrize("layout", IN_PLACE)
def test_no_gradient_is_copied(layout: str) -> None:
    make, dim, prior_shape = IN_PLACE[layout]
    x = make()
    for options in ({}, {"prior_mean": torch.randn(prior_shape), "samples": 2, "clamp": (-1, 1)}):
        joined, halves, copies = both_ways(x, dim, x.numel() // 2, **options)
        assert copies == []
        assert all(torch.equal(a, b) for a, b in zip(joined, halves, strict=True))


def test_what_chunks_cost_is_seen() -> None:
    """The test above could not fail if this were not so."""
    x = torch.randn(6, 8, requires_grad=True)
    z, kl = functional.reparameterize_kl(*x.chunk(2, 1))
    with Copies(48) as copies:
        torch.autograd.backward((z, kl), (torch.ones_like(z), torch.ones_like(kl)))
    assert copies.found == ["aten::cat"]


@settings(deadline=None, max_examples=40)
@given(tensors(joined=True))
def test_any_layout(drawn: tuple[Tensor, int, Tensor]) -> None:
    x, dim, prior = drawn
    joined, halves, _ = both_ways(x, dim, 1, prior_logvar=prior, reduction="none")
    assert all(torch.equal(a, b) for a, b in zip(joined, halves, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", ["rows", "tokens", "map", "map_halved_by_height", "channels_last", "odd"])
def test_the_kernels_write_both_halves(layout: str, dtype: torch.dtype) -> None:
    make, dim, prior_shape = IN_PLACE.get(layout, (lambda: torch.randn(3, 7, 10), 2, (5,)))
    for options in ({}, {"prior_logvar": torch.randn(prior_shape), "reduction": "latent"}):
        joined, halves, _ = both_ways(make().to(dtype), dim, 1, impl="triton", **options)
        assert all(torch.equal(a, b) for a, b in zip(joined, halves, strict=True))


@pytest.mark.parametrize("impl", [None, "reference", "triton"])
def test_kl_alone_and_further_uses_of_the_same_tensor(impl: Any) -> None:
    x = torch.randn(6, 8, 4, 5)
    grads = []
    for joined in (True, False):
        leaf = x.detach().requires_grad_()
        parameters = (leaf, None) if joined else leaf.chunk(2, 1)
        torch.manual_seed(2)
        kl = functional.gaussian_kl(*parameters, reduction="latent", impl=impl)
        z, of_sample = functional.reparameterize_kl(*parameters, impl=impl)
        (kl.square().sum() + z.square().sum() + of_sample + leaf.sin().sum()).backward()
        z, of_sample = functional.reparameterize_kl(*parameters, impl=impl)
        of_sample.backward()  # none through z
        grads.append(leaf.grad)
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("reentrant", [False, True], ids=["non_reentrant", "reentrant"])
def test_checkpointing_and_what_is_kept(reentrant: bool) -> None:
    layer = GaussianLatent()
    x, upstream = torch.randn(40, 12, requires_grad=True), torch.randn(40, 6)
    z = checkpoint(lambda x: layer(x)[0], x, use_reentrant=reentrant)
    torch.rand(7)
    z.backward(upstream)
    expected = torch.cat([upstream, 0.5 * upstream * (z.detach() - x.detach()[:, :6])], 1)
    torch.testing.assert_close(x.grad, expected)
    kept = set()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.add(t.untyped_storage().data_ptr()), lambda t: t):
        layer(x)
    assert kept == {x.untyped_storage().data_ptr()}


def test_opcheck() -> None:
    ops, seed = torch.ops.aevae_fast, torch.tensor([5])
    tail = ("softplus", [-1.0, 1.0], 0.1)
    for pair in (torch.randn(3, 2, 4, 5), torch.randn(3, 4, 2, 5).transpose(1, 2)):
        batch, _, length, dimension = pair.shape
        grad_z, m = torch.randn(2, batch, length, dimension), torch.randn(batch, length, dimension)
        opcheck(ops.reparameterize_kl_backward.default, (grad_z, None, pair, None, m, m, seed, *tail, True))
        opcheck(ops.gaussian_kl_backward.default, (torch.rand(3), pair, None, None, None, *tail, False))


@pytest.mark.parametrize("shape", [(6, 12), (6, 8, 4, 5)], ids=["rows", "map"])
def test_compiles_whole_and_copies_nothing(shape: tuple[int, ...]) -> None:
    layer, operations = GaussianLatent(), []

    def note(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        operations.extend(str(node.target) for node in graph.graph.nodes)
        return make_boxed_func(graph.forward)

    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend=aot_autograd(fw_compiler=note, bw_compiler=note))
    results = []
    for call in (compiled, layer):
        x = torch.arange(float(torch.Size(shape).numel())).view(shape).sin().requires_grad_()
        torch.manual_seed(1)
        z, kl = call(x)
        (z.sin().sum() + kl).backward()
        results.append((z, kl, x.grad))
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs)
    assert any("reparameterize_kl_backward" in name for name in operations)
    assert not [name for name in operations if "cat" in name or "clone" in name or "copy" in name]


def test_export() -> None:
    x = torch.randn(6, 8, 4, 5)
    exported = torch.export.export(GaussianLatent(), (x,)).module()
    torch.manual_seed(1)
    found = exported(x)
    torch.manual_seed(1)
    assert all(torch.equal(a, b) for a, b in zip(found, GaussianLatent()(x), strict=True))


@pytest.mark.parametrize("operation", [functional.gaussian_kl, functional.reparameterize_kl])
def test_bad_input_is_named(operation: Any) -> None:
    with pytest.raises(TypeError, match=r"mean must be a torch.Tensor; got list"):
        operation([1.0])
    with pytest.raises(ValueError, match=r"mean must have an axis 0 beside the batch, axis 0; got shape \(4, 6\)"):
        operation(torch.zeros(4, 6), dim=0)
    with pytest.raises(ValueError, match=r"mean must hold mean and log-variance along dim 1, an even size; .*\(4, 5\)"):
        operation(torch.zeros(4, 5))
