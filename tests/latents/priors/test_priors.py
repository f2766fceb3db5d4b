"""What priors say beside brute force in float64, what they give back, what they refuse."""

import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from aevae_fast.latents.priors import (
    PRIORS,
    FlowPrior,
    GaussianPrior,
    MixturePrior,
    StandardPrior,
    VampPrior,
    make_prior,
)

from .cases import IMAGE, LEARNED, OPTIONS, some_prior

DIM = 3


def points(count: int = 40, dim: int = DIM) -> Tensor:
    return 1.5 * torch.randn(count, dim, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def gaussians(mean: Tensor, logvar: Tensor) -> Independent:
    return Independent(Normal(mean, torch.exp(logvar / 2)), 1)


def brute_force(prior: Any, z: Tensor) -> Tensor:
    """log p(z) in float64 by torch.distributions, or for a flow from the Jacobian that autograd builds."""
    z = z.double()
    if isinstance(prior, StandardPrior):
        return gaussians(torch.zeros(DIM).double(), torch.zeros(DIM).double()).log_prob(z)
    if isinstance(prior, GaussianPrior):
        return gaussians(prior.mean.double(), prior.logvar.double()).log_prob(z)
    if isinstance(prior, FlowPrior):
        wide = some_prior(prior.name, DIM, torch.float64)
        assert isinstance(wide, FlowPrior)
        wide.load_state_dict(prior.state_dict())
        jacobian = torch.stack(
            [torch.autograd.functional.jacobian(lambda z: wide.flow(z[None])[0][0], row) for row in z]
        )
        return gaussians(z.new_zeros(DIM), z.new_zeros(DIM)).log_prob(wide.flow(z)[0]) + jacobian.slogdet().logabsdet
    mean, logvar = (prior.means, prior.logvars) if isinstance(prior, MixturePrior) else prior._moments()
    logits = prior.logits if isinstance(prior, MixturePrior) else torch.zeros(len(mean))
    return MixtureSameFamily(Categorical(logits=logits.double()), gaussians(mean.double(), logvar.double())).log_prob(z)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_density_is_that_of_brute_force(name: str) -> None:
    z = points()
    found = some_prior(name, DIM).log_prob(z)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, brute_force(some_prior(name, DIM), z), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", OPTIONS)
def test_in_float32_it_is_as_good_as_float32_allows(name: str) -> None:
    """The error is of z's own rounding through the density's slope, and some roundings of the sums in it."""
    prior, z = some_prior(name, DIM, torch.float32), points().float()
    found = prior.log_prob(z)
    assert found.dtype == torch.float32
    exact = brute_force(prior, z).detach()
    wide = z.double().requires_grad_()
    twin = some_prior(name, DIM)
    (slope,) = torch.autograd.grad(twin.log_prob(wide).sum(), wide)
    layers = 64 if isinstance(prior, FlowPrior) else 16  # roundings on the way, one after the other
    bound = layers * torch.finfo(torch.float32).eps * (1 + exact.abs() + (slope * wide).abs().sum(1).detach())
    assert ((found - exact).abs() <= bound).all()
    low = prior.log_prob(z.bfloat16())
    assert low.dtype == torch.float32
    assert torch.equal(low, prior.log_prob(z.bfloat16().float()))


@pytest.mark.parametrize("sigma", [1e-4, 1e-2, 1.0])
def test_a_mixture_of_narrow_components(sigma: float) -> None:
    """z - mean is exact where it is small, so that narrow components cost nothing."""
    torch.manual_seed(0)
    prior = make_prior("mixture", DIM, components=6, means=torch.randn(6, DIM), logvars=2 * math.log(sigma))
    z = prior.sample(200)
    exact = brute_force(prior, z)
    mean, logvar = prior.means.double(), prior.logvars.double()
    squares = ((z.double()[:, None] - mean).square() * torch.exp(-logvar)).sum(2).min(1).values
    terms = 1 + squares + logvar.abs().sum(1).max()  # the size of what is summed
    assert ((prior.log_prob(z) - exact).abs() <= 8 * torch.finfo(torch.float32).eps * terms).all()
    assert prior.log_prob(z).min() > -DIM * math.log(sigma) - 30


@pytest.mark.parametrize("name", ["standard", "gaussian"])
def test_the_closed_kl_is_what_sampling_finds(name: str) -> None:
    prior, mean = some_prior(name, DIM), points(5)
    logvar = torch.linspace(-3, 1, 5 * DIM, dtype=torch.float64).view(5, DIM)
    q = gaussians(mean, logvar)
    torch.manual_seed(0)
    z = q.sample((20_000,))
    drawn = q.log_prob(z) - prior.log_prob(z.flatten(0, 1)).view(20_000, 5)
    found = prior.kl(mean, logvar, z[0])
    assert ((found - drawn.mean(0)).abs() < 5 * drawn.std(0) / 20_000**0.5).all()
    zero = torch.zeros(DIM, dtype=torch.float64)
    other = gaussians(prior.mean, prior.logvar) if isinstance(prior, GaussianPrior) else gaussians(zero, zero)
    torch.testing.assert_close(found, kl_divergence(q, other), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name not in ("standard", "gaussian")])
def test_any_other_kl_is_the_estimate_of_one_sample(name: str) -> None:
    prior, mean, z = some_prior(name, DIM), points(5), points(9)[4:]
    logvar = mean.flip(0) / 2
    expected = gaussians(mean, logvar).log_prob(z) - prior.log_prob(z)
    torch.testing.assert_close(prior.kl(mean, logvar, z), expected)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name not in ("spline", "coupling", "autoregressive")])
def test_gradients(name: str) -> None:
    """Of z and of every parameter; zuko's networks have kinks."""
    prior, z = some_prior(name, DIM), points(4).requires_grad_()
    names, parameters = [], []
    for key, parameter in prior.named_parameters():
        names.append(key)
        parameters.append(parameter)

    def log_prob(z: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(prior, dict(zip(names, values, strict=True)), (z,))

    assert torch.autograd.gradcheck(log_prob, (z, *parameters))


@pytest.mark.parametrize("name", LEARNED)
def test_every_parameter_learns(name: str) -> None:
    prior = some_prior(name, DIM, torch.float32)
    prior.log_prob(points().float()).sum().backward()
    for key, parameter in prior.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", OPTIONS)
def test_options_and_state_build_it_again(name: str) -> None:
    prior = some_prior(name, DIM, torch.float32)
    again = make_prior(name, DIM, **json.loads(json.dumps(prior.options())))
    again.bind(prior._posterior) if isinstance(prior, VampPrior) else None
    again.load_state_dict(prior.state_dict())
    z = points().float()
    assert torch.equal(again.log_prob(z), prior.log_prob(z))
    assert repr(again) == repr(prior)
    torch.testing.assert_close(prior.settled()(z.double()).float(), prior.log_prob(z))


def test_given_values_stay() -> None:
    gaussian = GaussianPrior(2, mean=[1.0, -1.0], logvar=0.5, learned=False)
    mixture = MixturePrior(2, components=2, weights=[0.25, 0.75], means=[[0.0, 1.0], [2.0, 3.0]], learned=False)
    for prior in (gaussian, mixture):
        assert not list(prior.parameters())
        again = make_prior(prior.name, 2, **json.loads(json.dumps(prior.options())))
        assert all(torch.equal(value, again.state_dict()[key]) for key, value in prior.state_dict().items())
    torch.testing.assert_close(gaussian.mean, torch.tensor([1.0, -1.0]))
    torch.testing.assert_close(torch.softmax(mixture.logits, 0), torch.tensor([0.25, 0.75]))
    expected = torch.tensor([0.25 * 0.0 + 0.75 * 2.0, 0.25 * 1.0 + 0.75 * 3.0])
    drawn = mixture.sample(20_000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.mean(0), expected, rtol=0, atol=5 * float(drawn.std(0).max()) / 20_000**0.5)


def test_a_component_of_no_weight_is_left_out() -> None:
    prior = MixturePrior(2, components=2, weights=[0, 1], means=[[50.0, 50.0], [0.0, 0.0]])
    z = torch.tensor([[0.5, -0.5]])
    torch.testing.assert_close(prior.log_prob(z), StandardPrior(2).log_prob(z))
    assert prior.sample(100).abs().max() < 10


def test_pseudo_inputs_start_from_images() -> None:
    prior = VampPrior(2, input_shape=IMAGE, components=3)
    images = torch.rand(3, *IMAGE)
    prior.start_from(images)
    assert torch.equal(prior.pseudo_inputs, images)
    with pytest.raises(ValueError, match=r"images must have shape \[3, 1, 2, 2\]; got \[2, 1, 2, 2\]"):
        prior.start_from(images[:2])
    with pytest.raises(RuntimeError, match="no encoder yet"):
        prior.sample(1)


@pytest.mark.parametrize("name", ["coupling", "spline", "autoregressive"])
def test_without_zuko_the_error_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "zuko", None)
    with pytest.raises(ImportError, match=r"pip install 'aevae_fast\[flows\]'"):
        make_prior(name, 2)


BAD: list[tuple[type[Exception], str, Any]] = [
    (
        ValueError,
        "prior must be one of 'standard', 'gaussian'.*'autoregressive'.*; got 'normal'",
        lambda: make_prior("normal", 2),
    ),
    (TypeError, "prior must be a name or a Prior; got int", lambda: make_prior(3, 2)),  # type: ignore[arg-type]
    (ValueError, "takes no options; got length", lambda: make_prior(StandardPrior(2), 2, length=3)),
    (ValueError, "prior must have dim=2.*; got dim=3", lambda: make_prior(StandardPrior(3), 2)),
    (TypeError, "unexpected keyword argument 'components'", lambda: make_prior("gaussian", 2, components=3)),
    (ValueError, "dim must be at least 1; got 0", lambda: make_prior("standard", 0)),
    (TypeError, "dim must be an int; got float", lambda: make_prior("standard", 2.0)),  # type: ignore[arg-type]
    (
        ValueError,
        r"mean must be a number or have shape \(2,\); got shape \(3,\)",
        lambda: GaussianPrior(2, mean=[1, 2, 3]),
    ),
    (ValueError, "logvar must be finite", lambda: GaussianPrior(2, logvar=math.nan)),
    (TypeError, "mean must be a number or numbers; got 'much'", lambda: GaussianPrior(2, mean="much")),  # type: ignore[arg-type]
    (ValueError, "components must be at least 1; got 0", lambda: MixturePrior(2, components=0)),
    (ValueError, "weights must sum to 1; got 0.9", lambda: MixturePrior(2, components=2, weights=[0.5, 0.4])),
    (ValueError, "weights must be at least 0", lambda: MixturePrior(2, components=2, weights=[1.5, -0.5])),
    (ValueError, r"weights must .*shape \(3,\)", lambda: MixturePrior(2, components=3, weights=[0.5, 0.5])),
    (ValueError, r"means must .*shape \(2, 2\)", lambda: MixturePrior(2, components=2, means=torch.zeros(2, 3))),
    (ValueError, "components must be at least 1", lambda: VampPrior(2, input_shape=IMAGE, components=0)),
    (ValueError, r"input_shape must be \(C, H, W\)", lambda: VampPrior(2, input_shape=(2, 2))),
    (ValueError, "length must be at least 1; got 0", lambda: make_prior("planar", 2, length=0)),
    (TypeError, "colour", lambda: make_prior("radial", 2, colour=1)),
    (ValueError, "dim must be at least 2 for a coupling", lambda: make_prior("coupling", 1)),
    (ValueError, "transforms must be at least 1; got 0", lambda: make_prior("spline", 2, transforms=0)),
    (ValueError, "hidden must be at least 1; got 0", lambda: make_prior("autoregressive", 2, hidden=[0])),
    (ValueError, r"z must have shape \[N, 2\].*; got \(4, 3\)", lambda: StandardPrior(2).log_prob(torch.zeros(4, 3))),
    (
        TypeError,
        "z must be a floating-point tensor; got torch.int64",
        lambda: StandardPrior(2).log_prob(torch.zeros(4, 2).long()),
    ),
    (
        ValueError,
        "logvar must have shape",
        lambda: StandardPrior(2).kl(torch.zeros(4, 2), torch.zeros(4, 3), torch.zeros(4, 2)),
    ),
    (ValueError, "n must be at least 0; got -1", lambda: StandardPrior(2).sample(-1)),
    (TypeError, "n must be an int; got float", lambda: StandardPrior(2).sample(1.5)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("error", "message", "call"), BAD, ids=[message[:30] for _, message, _ in BAD])
def test_bad_input_is_named(error: type[Exception], message: str, call: Any) -> None:
    with pytest.raises(error, match=message):
        call()


def test_every_name_has_a_case() -> None:
    assert set(OPTIONS) | {"beta", "dirichlet"} == set(PRIORS)
