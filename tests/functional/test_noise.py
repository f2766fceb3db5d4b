"""The noise of `reparameterize_kl`: a standard normal, independent between elements, samples, calls and ranks; drawn
again, not kept, for the gradient, also under checkpointing and `torch.compile`."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from aevae_fast import functional
from tests import noise


def draw(*shape: int, generator: torch.Generator | None = None, **options: Any) -> Tensor:
    """z where the mean is 0 and σ is 1."""
    zeros = torch.zeros(shape)
    return functional.reparameterize_kl(zeros, zeros, generator=generator, **options)[0]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_numbers_of_one_call_are_independent_standard_normals() -> None:
    drawn = draw(1024, 512, generator=seeded(5))
    found = noise.of_one(drawn)
    for apart in (1, 2, 3, 4, 8):
        found |= noise.named(f"{apart} apart", noise.of_neighbours(drawn[:, :-apart], drawn[:, apart:]))
    found |= noise.named("rows", noise.of_two(drawn[::2], drawn[1::2]))
    found |= noise.named("halves", noise.of_two(drawn[:512], drawn[512:]))
    noise.accept(found)
    noise.accept(noise.of_one(draw(256, 8, 8, 8, generator=seeded(6)).movedim(1, -1)))


def test_samples_are_independent() -> None:
    first, second, third = draw(512, 256, samples=3, generator=seeded(5))
    pairs = {"first": (first, second), "outer": (first, third), "last": (second, third)}
    noise.accept({k: p for name, pair in pairs.items() for k, p in noise.named(name, noise.of_two(*pair)).items()})


@pytest.mark.parametrize(("calls", "shape"), [(512, (32, 16)), (2048, (1, 4))], ids=["batches", "a_vector_each"])
def test_calls_are_independent(calls: int, shape: tuple[int, ...]) -> None:
    """Each call starts a generator of its own from the seed it drew: near its start, too, the noise must be sound."""
    generator = seeded(9)
    drawn = torch.stack([draw(*shape, generator=generator) for _ in range(calls)])
    found = noise.of_one(drawn) | noise.named("calls", noise.of_two(drawn[::2], drawn[1::2]))
    found |= noise.named("first numbers", noise.of_one(drawn.flatten(1)[:, 0]))
    noise.accept(found)


def test_ranks_draw_what_their_generators_say() -> None:
    """Seeds 0, 1, 2, … for ranks give independent noise; one seed for all gives all the same."""
    ranks = [draw(256, 256, generator=seeded(rank)) for rank in range(6)]
    found = {}
    for a in range(6):
        for b in range(a):
            found |= noise.named(f"ranks {b} and {a}", noise.of_two(ranks[b], ranks[a]))
    noise.accept(found)
    assert torch.equal(ranks[3], draw(256, 256, generator=seeded(3)))


def test_the_default_generator_moves_on_and_a_given_one_leaves_it_alone() -> None:
    torch.manual_seed(0)
    first, second = draw(4, 6), draw(4, 6)
    after = torch.get_rng_state()
    torch.manual_seed(0)
    assert torch.equal(draw(4, 6), first)
    assert torch.equal(draw(4, 6, generator=seeded(0)), first)
    assert torch.equal(draw(4, 6), second)
    assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), after)


def saved_bytes(run: Callable[[], Any]) -> int:
    """Bytes of the storages that autograd keeps between forward and backward."""
    storages = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        outputs = run()
    del outputs
    return sum(storages.values())


@pytest.mark.parametrize("impl", [None, "triton"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(6, 16), (6, 8, 3, 5)], ids=["rows", "image_map"])
def test_only_inputs_and_the_seed_are_kept(shape: tuple[int, ...], dtype: torch.dtype, impl: Any) -> None:
    x = torch.randn(shape, dtype=dtype, requires_grad=True)
    prior = torch.zeros(shape[1] // 2, *[1] * (len(shape) - 2), requires_grad=True)
    options: dict[str, Any] = {"samples": 3, "clamp": (-30, 20), "free_bits": 0.1, "impl": impl}
    own = x.untyped_storage().nbytes()
    assert saved_bytes(lambda: functional.reparameterize_kl(*x.chunk(2, 1), **options)) == own
    given = {"prior_mean": prior, "prior_logvar": prior}
    prior_bytes = prior.untyped_storage().nbytes()
    assert saved_bytes(lambda: functional.reparameterize_kl(*x.chunk(2, 1), **given, **options)) == own + prior_bytes
    assert saved_bytes(lambda: functional.gaussian_kl(*x.chunk(2, 1), reduction="latent", impl=impl)) == own


def expected_gradient(x: Tensor, z: Tensor, upstream: Tensor) -> Tensor:
    """Of Σ upstream·z: upstream for the mean, ½·upstream·(z - mean) for the log-variance."""
    mean, _ = x.detach().chunk(2, 1)
    return torch.cat([upstream, 0.5 * upstream * (z.detach() - mean)], 1)


@pytest.mark.parametrize("reentrant", [False, True], ids=["non_reentrant", "reentrant"])
@pytest.mark.parametrize("impl", [None, "reference", "triton"])
def test_checkpointing_draws_the_same_noise(reentrant: bool, impl: Any) -> None:
    torch.manual_seed(3)
    x, upstream = torch.randn(40, 12, requires_grad=True), torch.randn(40, 6)

    def step(x: Tensor) -> Tensor:
        return functional.reparameterize_kl(*x.chunk(2, 1), impl=impl)[0]

    z = checkpoint(step, x, use_reentrant=reentrant)
    torch.rand(7)  # what is drawn in between must not matter
    z.backward(upstream)
    torch.testing.assert_close(x.grad, expected_gradient(x, z, upstream))


@pytest.mark.parametrize("impl", [None, "triton"])
def test_non_reentrant_checkpointing_with_a_generator_it_does_not_restore(impl: Any) -> None:
    x, upstream, generator = torch.randn(40, 12, requires_grad=True), torch.randn(40, 6), seeded(3)

    def step(x: Tensor) -> Tensor:
        return functional.reparameterize_kl(*x.chunk(2, 1), generator=generator, impl=impl)[0]

    z = checkpoint(step, x, use_reentrant=False)
    z.backward(upstream)
    torch.testing.assert_close(x.grad, expected_gradient(x, z, upstream))


def test_seeds_that_differ_in_any_bit_and_blocks_draw_differently() -> None:
    """On a CPU, whose generator takes 32 bits of a seed."""
    zeros = torch.zeros(1, 1, 3 * 2**15)
    drawn = []
    for seed in (5, 5 + (12345 << 32), 5 + (1 << 63) - (1 << 64), 5 - 0x7F4A7C15):
        given = (zeros, zeros, None, None, torch.tensor([seed]), 1, "logvar", None, 0.0, "batch")
        drawn += torch.ops.aevae_fast.reparameterize_kl(*given)[0].view(3, -1)
    assert all(not torch.equal(a, b) for i, a in enumerate(drawn) for b in drawn[:i])


@pytest.mark.parametrize("checkpointed", [False, True], ids=["plain", "checkpointed"])
def test_a_compiled_step_draws_anew_at_every_call_and_the_same_for_its_gradient(checkpointed: bool) -> None:
    def sample(x: Tensor) -> Tensor:
        return functional.reparameterize_kl(*x.chunk(2, 1))[0]

    def step(x: Tensor) -> tuple[Tensor, Tensor]:
        first = checkpoint(sample, x, use_reentrant=False) if checkpointed else sample(x)
        return first, sample(x)

    torch._dynamo.reset()
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    x, upstream = torch.randn(40, 12, requires_grad=True), torch.randn(40, 6)
    torch.manual_seed(1)
    draws = [*compiled(x), *compiled(x)]
    for a, z in enumerate(draws):
        gradient = torch.autograd.grad(z, x, upstream, retain_graph=True)[0]
        torch.testing.assert_close(gradient, expected_gradient(x, z, upstream))
        assert not any(torch.equal(z, before) for before in draws[:a])
    torch.manual_seed(1)
    for mine, eager in zip(draws, (*step(x), *step(x)), strict=True):
        torch.testing.assert_close(mine, eager)
