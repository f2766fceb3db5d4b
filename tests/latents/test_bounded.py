"""What holds for every bounded bottleneck: finite at any concentration, layouts, modes, dtypes, tracing, errors."""

from typing import Any

import pytest
import torch
from torch import Tensor

from aevae_fast.latents import BetaLatent, DirichletLatent, KumaraswamyLatent, Latent, make_latent
from aevae_fast.latents.bounded import BoundedLatent
from aevae_fast.latents.priors import BetaPrior, DirichletPrior, Prior

from .bounded_cases import EXTREMES, pairs, raw

LAYERS = [BetaLatent, DirichletLatent, KumaraswamyLatent]


def extreme_rows(kind: type[Latent], dtype: torch.dtype) -> Tensor:
    """Every concentration with every other, and far beyond them on both sides."""
    row = raw(*EXTREMES)[None] if kind is DirichletLatent else pairs()
    beyond = torch.linspace(-1e4, 1e7, row.shape[1], dtype=torch.float64)[None]
    return torch.cat([row, beyond, -beyond]).to(dtype).repeat(30, 1)


def priors(kind: type[Latent], dim: int) -> list[Prior | None]:
    if kind is DirichletLatent:
        return [None, DirichletPrior(dim), DirichletPrior(dim, concentration=0.2)]
    return [None, BetaPrior(dim), BetaPrior(dim, alpha=0.3, beta=20.0), BetaPrior(dim, alpha=1e6, beta=1e-3)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", LAYERS)
def test_all_is_finite_at_any_concentration(kind: type[BoundedLatent], dtype: torch.dtype) -> None:
    """z, KL, densities, and gradients of these and of the logarithms of z and 1 - z."""
    layer, encoded = kind(), extreme_rows(kind, dtype).requires_grad_()
    for prior in priors(kind, encoded.shape[1] // layer.parameters_per_dim):
        for train in (True, False):
            z, kl = layer.train(train)(encoded, prior=prior)
            assert z.dtype == dtype
            assert kl.dtype == torch.float32
            assert ((z > 0) & (z < 1)).all()
            assert kl.isfinite().all()
            assert (kl > -1e-4).all()
            for value in (z, z.float().log(), torch.log1p(-z.float()), kl):
                (gradient,) = torch.autograd.grad(value.sum(), encoded, retain_graph=True)
                assert gradient.isfinite().all()
    z, log_q = layer.draw(encoded, 2)
    assert log_q.isfinite().all()
    assert torch.autograd.grad(log_q.sum() + z.sum(), encoded)[0].isfinite().all()


@pytest.mark.parametrize("kind", LAYERS)
def test_what_is_not_finite_stays_seen(kind: type[BoundedLatent]) -> None:
    encoded = torch.zeros(3, 4)
    encoded[1, 2], encoded[2, 0] = torch.nan, torch.inf
    z, kl = kind()(encoded)
    assert z.isnan().flatten(1).any(1).tolist() == [False, True, True]
    assert kl.isnan().tolist() == [False, True, True]


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("shape", [(), (2,), (2, 3)], ids=str)
def test_layouts_modes_and_seeds(kind: type[BoundedLatent], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = kind()
    layer.bind((4, *shape))
    encoded = torch.randn(5, layer.encoder_width(4), *shape)
    z, kl = layer(encoded, generator=torch.Generator().manual_seed(1))
    assert z.shape == (5, 4, *shape)
    assert kl.shape == (5,)
    again, same = layer(encoded, generator=torch.Generator().manual_seed(1))
    assert torch.equal(z, again)
    assert torch.equal(kl, same)
    torch.testing.assert_close(layer.kl(encoded), kl)
    mean, kl_of_eval = layer.eval()(encoded)
    assert torch.equal(mean, layer.mean(encoded))
    assert torch.equal(kl, kl_of_eval)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("shape", [(), (2, 3)], ids=str)
def test_draws_have_the_mean_and_the_kl(kind: type[BoundedLatent], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer, samples = kind(), 4000
    layer.bind((4, *shape))
    encoded = 1 + torch.randn(5, layer.encoder_width(4), *shape, dtype=torch.float64)
    mean, kl = layer.mean(encoded), layer.kl(encoded)
    z, log_q = layer.draw(encoded, samples)
    assert z.shape == (samples, *mean.shape)
    assert log_q.shape == (samples, 5)
    assert ((z.mean(0) - mean).abs() <= 5 * z.std(0) / samples**0.5).all()
    prior = layer.default_prior(mean[0].numel())
    estimate = log_q - prior.log_prob(z.flatten(0, 1).flatten(1)).view(samples, 5)
    assert ((estimate.mean(0) - kl).abs() <= 5 * estimate.std(0) / samples**0.5).all()


class HalfAndHalf(Prior):
    """A prior on the cube that no layer knows: a mixture of two Beta's."""

    name, support = "half", "unit"

    def _log_prob(self, z: Tensor) -> Tensor:
        low, high = BetaPrior(self.dim, alpha=3.0), BetaPrior(self.dim, beta=3.0)
        return torch.logaddexp(low.log_prob(z), high.log_prob(z))

    def _sample(self, n: int, generator: torch.Generator | None) -> Tensor:
        raise NotImplementedError


@pytest.mark.parametrize("kind", [BetaLatent, KumaraswamyLatent])
def test_another_prior_gets_an_estimate(kind: type[BoundedLatent]) -> None:
    """On average over many rows of the same, that of many samples; in eval from samples of its own."""
    torch.manual_seed(0)
    layer, prior, rows = kind(), HalfAndHalf(2), 20_000
    encoded = torch.randn(1, 4)
    assert layer.kl(encoded, prior) is None
    z, log_q = layer.draw(encoded.double(), rows)
    expected = log_q[:, 0] - prior.log_prob(z[:, 0])
    for train in (True, False):
        z, kl = layer.train(train)(encoded.expand(rows, -1), prior=prior)
        assert (z.std(0) > 0).all() == train
        assert (kl.mean() - expected.mean()).abs() <= 5 * kl.std() * (2 / rows) ** 0.5


@pytest.mark.parametrize("kind", LAYERS)
def test_a_position_of_a_map_is_a_latent_of_its_own(kind: type[BoundedLatent]) -> None:
    torch.manual_seed(0)
    layer = kind()
    maps = torch.randn(3, layer.encoder_width(4), 2, 2)
    rows = maps.movedim(1, -1).flatten(0, 2)
    kl = layer(maps)[1]
    torch.testing.assert_close(kl, layer(rows)[1].view(3, 4).sum(1))
    torch.testing.assert_close(layer.mean(maps), layer.mean(rows).view(3, 2, 2, 4).movedim(-1, 1))


@pytest.mark.parametrize("kind", LAYERS)
def test_compiles_whole(kind: type[BoundedLatent]) -> None:
    torch.manual_seed(0)
    layer = kind()
    encoded = torch.randn(4, 6, requires_grad=True)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.manual_seed(1)
    z, kl = compiled(encoded)
    (gradient,) = torch.autograd.grad(z.square().sum() + kl.sum(), encoded)
    torch.manual_seed(1)
    expected, same = layer(encoded)
    (plain,) = torch.autograd.grad(expected.square().sum() + same.sum(), encoded)
    torch.testing.assert_close(z, expected)
    torch.testing.assert_close(kl, same)
    torch.testing.assert_close(gradient, plain)


@pytest.mark.parametrize("kind", LAYERS)
def test_options_build_it_again(kind: type[BoundedLatent]) -> None:
    layer = kind(clamp=(0.5, 2.0))
    again = make_latent(kind.name, **layer.options())
    assert isinstance(again, kind)
    assert again.clamp == (0.5, 2.0)
    ends = torch.tensor([[-50.0, 50.0, 0.5, 0.5]], requires_grad=True)
    z, kl = again.eval()(ends)
    (gradient,) = torch.autograd.grad(z.sum() + kl.sum(), ends)
    assert torch.equal(gradient[0, :2], torch.zeros(2))
    assert "clamp=[0.5, 2.0]" in repr(again)


ERRORS: list[tuple[type[Exception], str, dict[str, Any]]] = [
    (TypeError, "clamp must be a pair of numbers", {"clamp": 1.0}),
    (ValueError, r"clamp must be \(lo, hi\) with 0 < lo < hi, both finite; got \(0.0, 1.0\)", {"clamp": (0.0, 1.0)}),
    (ValueError, "clamp must be", {"clamp": (2.0, 1.0)}),
    (ValueError, "clamp must be", {"clamp": (2.0, float("inf"))}),
]


@pytest.mark.parametrize(("error", "message", "options"), ERRORS)
@pytest.mark.parametrize("kind", LAYERS)
def test_errors_of_options(
    kind: type[BoundedLatent], error: type[Exception], message: str, options: dict[str, Any]
) -> None:
    with pytest.raises(error, match=message):
        kind(**options)


@pytest.mark.parametrize("kind", LAYERS)
def test_errors_of_input(kind: type[BoundedLatent]) -> None:
    with pytest.raises(TypeError, match="encoded must be a floating-point tensor; got torch"):
        kind()(torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(TypeError, match="encoded must be a floating-point tensor; got list"):
        kind()([0.0])
    wrong = torch.zeros(2, 1)
    with pytest.raises(ValueError, match=r"encoded must have shape \[B, .*; got \(2, 1\)"):
        kind()(wrong)
