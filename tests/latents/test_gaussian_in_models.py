"""What a model asks of the two Gaussian layers: draws with their densities, the KL under a prior."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from aevae_fast.latents import FullCovarianceGaussianLatent, GaussianLatent, Latent, make_latent
from aevae_fast.latents.priors import GaussianPrior, MixturePrior, StandardPrior

LATENTS = ["gaussian", "full_covariance"]
DIM, BATCH = 3, 4


def encoded(latent: Latent, *trailing: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(BATCH, latent.encoder_width(DIM), *trailing, generator=generator, dtype=torch.float64).to(dtype)


def distribution(latent: Latent, x: Tensor) -> MultivariateNormal:
    """q(z | x) of `x [B, width]` in float64, from the layer's documentation."""
    x = x.double()
    mean, rest = x[:, :DIM], x[:, DIM:]
    if isinstance(latent, GaussianLatent):
        return MultivariateNormal(mean, scale_tril=torch.diag_embed(torch.exp(rest / 2)))
    lower = torch.diag_embed(torch.exp(rest[:, :DIM]))
    row, column = torch.tril_indices(DIM, DIM, -1)
    lower[:, row, column] = rest[:, DIM:]
    return MultivariateNormal(mean, scale_tril=lower)


@pytest.mark.parametrize("name", LATENTS)
def test_draws_have_the_distribution_and_its_density(name: str) -> None:
    latent = make_latent(name)
    x = encoded(latent)
    q = distribution(latent, x)
    z, log_q = latent.draw(x, 20_000, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(log_q, q.log_prob(z), rtol=1e-9, atol=1e-9)
    sigma = q.variance.sqrt()
    assert ((z.mean(0) - q.mean).abs() < 5 * sigma / 20_000**0.5).all()
    centred = (z - q.mean) / sigma
    correlation = torch.einsum("sbi,sbj->bij", centred, centred) / 20_000
    exact = q.covariance_matrix / (sigma[:, :, None] * sigma[:, None])
    assert ((correlation - exact).abs() < 5 * 1.5 / 20_000**0.5).all()  # a product's variance is 2 at most
    assert torch.equal(latent.mean(x), q.mean)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", LATENTS)
def test_the_density_is_of_the_rounded_draw(name: str, dtype: torch.dtype) -> None:
    latent = make_latent(name)
    x = encoded(latent, dtype=dtype)
    z, log_q = latent.draw(x, 50)
    assert z.dtype == dtype
    assert log_q.dtype == torch.float64
    torch.testing.assert_close(log_q, distribution(latent, x).log_prob(z.double()), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", LATENTS)
def test_draws_of_maps_and_their_gradient(name: str) -> None:
    latent = make_latent(name)
    x = encoded(latent, 2, 3).requires_grad_()
    z, log_q = latent.draw(x, 5)
    assert z.shape == (5, BATCH, DIM, 2, 3)
    flat = x.movedim(1, -1).reshape(-1, x.shape[1])
    places = z.movedim(2, -1).reshape(5, -1, DIM)
    expected = distribution(latent, flat).log_prob(places).view(5, BATCH, -1).sum(2)
    torch.testing.assert_close(log_q, expected)
    # by reparameterization the noise is fixed: of log q only the volume depends on x
    (gradient,) = torch.autograd.grad(log_q.sum(), x)
    assert gradient[:, :DIM].abs().max() < 1e-9
    volume = -0.5 if name == "gaussian" else -1.0
    torch.testing.assert_close(gradient[:, DIM : 2 * DIM], torch.full_like(gradient[:, :DIM], 5 * volume))


@pytest.mark.parametrize("trailing", [(), (2, 2)], ids=["vector", "map"])
@pytest.mark.parametrize("name", LATENTS)
def test_the_kl_under_a_gaussian_prior(name: str, trailing: tuple[int, ...]) -> None:
    latent = make_latent(name)
    x = encoded(latent, *trailing)
    size = DIM * 4 if trailing else DIM
    prior = GaussianPrior(size, mean=torch.linspace(-1, 1, size).double(), logvar=torch.linspace(-2, 1, size).double())
    flat = x.movedim(1, -1).reshape(-1, x.shape[1])
    center, logvar = (t.detach().view(DIM, -1).T.repeat(BATCH, 1) for t in (prior.mean, prior.logvar))
    other = MultivariateNormal(center, torch.diag_embed(logvar.exp()))
    expected = kl_divergence(distribution(latent, flat), other).view(BATCH, -1).sum(1)
    torch.testing.assert_close(latent.kl(x, prior), expected)
    torch.testing.assert_close(latent(x, prior=prior)[1], expected)
    torch.testing.assert_close(latent.eval()(x, prior=prior)[1], expected)
    standard = MultivariateNormal(torch.zeros_like(center), torch.eye(DIM).double())
    expected = kl_divergence(distribution(latent, flat), standard).view(BATCH, -1).sum(1)
    for none in (None, StandardPrior(size)):
        torch.testing.assert_close(latent.kl(x, none), expected)
        torch.testing.assert_close(latent(x, prior=none)[1], expected)


@pytest.mark.parametrize("name", LATENTS)
def test_the_kl_under_a_mixture_is_of_the_sample(name: str) -> None:
    latent, prior = make_latent(name), MixturePrior(DIM, components=3).double()
    x = encoded(latent)
    q = distribution(latent, x)
    assert latent.kl(x, prior) is None
    z, kl = latent(x, prior=prior, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(kl, q.log_prob(z) - prior.log_prob(z))
    again, _ = latent(x, prior=prior, generator=torch.Generator().manual_seed(1))
    assert torch.equal(again, z)
    quiet, same = latent.eval()(x, prior=prior, generator=torch.Generator().manual_seed(1))
    assert torch.equal(quiet, q.mean)
    assert torch.equal(same, kl)


@pytest.mark.parametrize("name", LATENTS)
def test_in_low_precision_the_estimate_is_of_the_sample_before_its_rounding(name: str) -> None:
    """A posterior narrower than bfloat16's steps: log q of the rounded z would be hundreds of nats away."""
    latent, prior = make_latent(name), MixturePrior(DIM, components=3)
    x = encoded(latent, dtype=torch.bfloat16)
    x[:, DIM : 2 * DIM] = -16 if name == "gaussian" else -8
    x[:, 2 * DIM :] = 0
    z, kl = latent(x, prior=prior, generator=torch.Generator().manual_seed(1))
    wide, expected = latent(x.float(), prior=prior, generator=torch.Generator().manual_seed(1))
    assert z.dtype == torch.bfloat16
    assert torch.equal(z, wide.bfloat16())
    torch.testing.assert_close(kl, expected)


@pytest.mark.parametrize("name", LATENTS)
def test_widths_and_names(name: str) -> None:
    latent = make_latent(name)
    assert latent.name == name
    assert [latent.encoder_width(dim) for dim in (1, 2, 3)] == ([2, 4, 6] if name == "gaussian" else [2, 5, 9])
    assert latent.default_prior(5).dim == 5
    assert make_latent(latent) is latent
    assert repr(make_latent(name, **latent.options())) == repr(latent)
    moments = latent.moments(encoded(latent))
    assert (moments is None) == (name == "full_covariance")


MIXTURE = MixturePrior(DIM, components=2)
BAD: list[tuple[type[Exception], str, Any]] = [
    (
        ValueError,
        "latent must be one of 'gaussian', 'full_covariance'.*; got 'laplace'",
        lambda: make_latent("laplace"),
    ),
    (TypeError, "latent must be a name or a Latent; got int", lambda: make_latent(1)),  # type: ignore[arg-type]
    (ValueError, "takes no options; got clamp", lambda: make_latent(GaussianLatent(), clamp=None)),
    (ValueError, "latent must have dim=1", lambda: GaussianLatent(-1, reduction="latent").bind((3,))),
    (
        ValueError,
        "latent must have dim=1",
        lambda: FullCovarianceGaussianLatent(samples=2, reduction="latent").bind((3,)),
    ),
    (ValueError, "under MixturePrior", lambda: GaussianLatent(free_bits=0.1)(torch.zeros(2, 6), prior=MIXTURE)),
    (
        ValueError,
        "under MixturePrior",
        lambda: FullCovarianceGaussianLatent(samples=2)(torch.zeros(2, 9), prior=MIXTURE),
    ),
    (
        ValueError,
        "prior must be None where prior_mean",
        lambda: GaussianLatent()(torch.zeros(2, 6), prior=MIXTURE, prior_mean=torch.zeros(3)),
    ),
]


@pytest.mark.parametrize(("error", "message", "call"), BAD, ids=[message[:30] for _, message, _ in BAD])
def test_bad_input_is_named(error: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(error, match=message):
        call()
