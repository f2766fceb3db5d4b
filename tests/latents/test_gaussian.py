"""The layer: what it returns in training and in eval, its layouts, what it refuses."""

from typing import Any

import pytest
import torch
from torch import nn

from aevae_fast import GaussianLatent, functional


@pytest.mark.parametrize(("shape", "dim"), [((5, 8), 1), ((5, 7, 8), -1), ((5, 8, 3, 4), 1)], ids=str)
def test_splits_the_encoders_output(shape: tuple[int, ...], dim: int) -> None:
    torch.manual_seed(0)
    layer, x = GaussianLatent(dim, reduction="latent", clamp=(-30, 20)), torch.randn(shape)
    mean, logvar = x.chunk(2, dim)
    torch.manual_seed(1)
    z, kl = layer(x)
    torch.manual_seed(1)
    for mine, theirs in zip((z, kl), layer(mean, logvar), strict=True):
        assert torch.equal(mine, theirs)
    assert z.shape == mean.shape
    assert kl.shape == (5,)
    torch.testing.assert_close(kl, functional.gaussian_kl(mean, logvar, reduction="latent"))


def test_eval_gives_the_mean_and_the_same_kl() -> None:
    x, prior = torch.randn(5, 8), torch.randn(4)
    layer = GaussianLatent(samples=3, free_bits=0.1)
    z, kl = layer(x, prior_mean=prior)
    quiet, same = layer.eval()(x, prior_mean=prior)
    assert z.shape == quiet.shape == (3, 5, 4)
    assert torch.equal(quiet, x[:, :4].expand(3, 5, 4))
    torch.testing.assert_close(kl, same)
    assert torch.equal(GaussianLatent().eval()(x)[0], x[:, :4])


def test_a_learned_prior_and_an_encoder_move() -> None:
    torch.manual_seed(0)
    encoder, layer, prior = nn.Linear(6, 8), GaussianLatent(), nn.Parameter(torch.zeros(2, 4))
    optimizer = torch.optim.Adam([*encoder.parameters(), prior], lr=0.05)
    data = torch.randn(64, 6)
    first = None
    for _ in range(60):
        z, kl = layer(encoder(data), prior_mean=prior[0], prior_logvar=prior[1])
        loss = (z - data[:, :4]).square().sum(1).mean() + kl
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first = loss.item() if first is None else first
    assert first is not None
    assert loss.item() < 0.8 * first
    assert prior.abs().min() > 0


def test_generator_and_low_precision() -> None:
    x = torch.randn(5, 8).bfloat16()
    draws = [GaussianLatent()(x, generator=torch.Generator().manual_seed(7)) for _ in range(2)]
    assert torch.equal(draws[0][0], draws[1][0])
    assert draws[0][0].dtype == torch.bfloat16
    assert draws[0][1].dtype == torch.float32


def test_a_dim_that_is_no_axis_is_refused() -> None:
    for dim in ("1", 1.0, True):
        with pytest.raises(TypeError, match=f"dim must be an int.*; got {type(dim).__name__}"):
            GaussianLatent(dim)  # type: ignore[arg-type]


def test_compiles_without_a_break() -> None:
    torch._dynamo.reset()
    layer, x = GaussianLatent(), torch.randn(5, 8)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for mode in (True, False):
        layer.train(mode)
        torch.manual_seed(1)
        ours = compiled(x)
        torch.manual_seed(1)
        torch.testing.assert_close(ours, layer(x))


def test_repr_says_what_differs() -> None:
    shown = repr(GaussianLatent(-1, clamp=(-30, 20), samples=2, free_bits=0.5))
    options = "parameterization='logvar', reduction='batch', clamp=(-30, 20), samples=2, free_bits=0.5"
    assert shown == f"GaussianLatent(dim=-1, {options})"


BAD: list[tuple[str, Any]] = [
    ("dim must not be the batch", lambda: GaussianLatent(0)),
    ("samples must be None or at least 1; got 0", lambda: GaussianLatent(samples=0)),
    ("reduction must be one of", lambda: GaussianLatent(reduction="sum")),
    ("an even size; got shape", lambda: GaussianLatent()(torch.randn(5, 7))),
    ("x must have an axis 2 beside the batch", lambda: GaussianLatent(2)(torch.randn(5, 8))),
    ("logvar must have mean's shape", lambda: GaussianLatent()(torch.randn(5, 8), torch.randn(5, 4))),
]


@pytest.mark.parametrize(("message", "call"), BAD, ids=[message[:24] for message, _ in BAD])
def test_bad_input_is_named(message: str, call: Any) -> None:
    with pytest.raises(ValueError, match=message):
        call()
