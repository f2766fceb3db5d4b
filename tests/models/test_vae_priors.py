"""`VAE` under each prior: its loss and estimates, training, compiled, saved and loaded."""

import copy
import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

from aevae_fast import GaussianLatent
from aevae_fast.latents.priors import GaussianPrior, MixturePrior, Prior, StandardPrior, VampPrior
from aevae_fast.models import VAE, load_model, save_model

from .image_models import SIDE, images, small

OPTIONS: dict[str, dict[str, Any]] = {
    "standard": {},
    "gaussian": {},
    "mixture": {"components": 4},
    "vamp": {"components": 6},
    "planar": {"length": 3},
    "radial": {"length": 3},
    "coupling": {"hidden": [8]},
    "spline": {"hidden": [8]},
    "autoregressive": {"hidden": [8]},
}
PAIRS = [  # a Vamp prior is made of diagonal Gaussians
    (name, latent)
    for name in OPTIONS
    for latent in ("gaussian", "full_covariance")
    if (name, latent) != ("vamp", "full_covariance")
]
COMPILED = ["standard", "gaussian", "mixture", "vamp", "planar", "radial", "coupling", "spline"]


def model(name: str, **options: Any) -> Any:
    return small(VAE, body="mlp", hidden=[20], prior=name, prior_options=OPTIONS[name], **options)


def seeded(call: Any, seed: int = 3) -> Any:
    torch.manual_seed(seed)
    return call()


@pytest.mark.parametrize(("name", "latent"), PAIRS)
def test_training_raises_the_bound(name: str, latent: str) -> None:
    """A few steps on a few images, prior and all; each parameter moves."""
    vae, x = model(name, latent=latent), images(16)
    before = {key: value.clone() for key, value in vae.named_parameters()}
    bounds = [vae.elbo(x, samples=50, generator=torch.Generator().manual_seed(0)).mean()]
    optimizer = torch.optim.Adam(vae.parameters(), lr=0.01)
    for _ in range(30):
        optimizer.zero_grad()
        output = vae(x)
        output.loss.backward()
        optimizer.step()
    bounds.append(vae.elbo(x, samples=50, generator=torch.Generator().manual_seed(0)).mean())
    torch.testing.assert_close(output.loss, output.reconstruction_loss + output.kl)
    assert bounds[1] > bounds[0] + 1
    still = [key for key, value in vae.named_parameters() if torch.equal(value, before[key])]
    assert not still


@pytest.mark.parametrize(("name", "latent"), PAIRS)
def test_what_comes_back_from_a_folder_does_the_same(name: str, latent: str, tmp_path: Any) -> None:
    vae, x = model(name, latent=latent), images(4)
    vae(x).loss.backward()
    torch.optim.Adam(vae.parameters(), 0.1).step()
    save_model(vae, tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.config == json.loads(json.dumps(vae.config)) == vae.config
    assert repr(loaded) == repr(vae.eval())
    assert loaded.state_dict().keys() == vae.state_dict().keys()
    for call in (
        lambda one: one(x).loss,
        lambda one: one.log_likelihood(x, 5),
        lambda one: one.sample(3),
        lambda one: one.traverse(x[:1], [0], steps=3),
    ):
        assert torch.equal(seeded(lambda call=call: call(loaded)), seeded(lambda call=call: call(vae)))


@pytest.mark.parametrize("name", COMPILED)
def test_a_training_step_is_one_graph(name: str) -> None:
    torch._dynamo.reset()
    vae, x = model(name), images()
    seeded(lambda: vae(x).loss.backward())
    expected = {key: parameter.grad.clone() for key, parameter in vae.named_parameters()}
    vae.zero_grad()
    compiled = torch.compile(vae, fullgraph=True, backend="aot_eager")
    seeded(lambda: compiled(x).loss.backward())
    for key, parameter in vae.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[key])


@pytest.mark.parametrize("latent", ["gaussian", "full_covariance"])
def test_a_mixture_of_one_is_that_gaussian(latent: str) -> None:
    """Its estimates are of what the closed form says, with the same samples the same."""
    gaussian = {"mean": [0.5, -0.5, 0.0], "logvar": [-0.5, 0.0, 0.5], "learned": False}
    mixture = {"components": 1, "means": [[0.5, -0.5, 0.0]], "logvars": [[-0.5, 0.0, 0.5]], "learned": False}
    closed = small(VAE, body="mlp", latent=latent, prior="gaussian", prior_options=gaussian)
    estimated = small(VAE, body="mlp", latent=latent, prior="mixture", prior_options=mixture)
    for ours, theirs in zip(closed.parameters(), estimated.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    x = images(3)
    found = [seeded(lambda one=one: one.log_likelihood(x, 20)) for one in (closed, estimated)]
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-5)  # the mixture's density is float32

    kl = closed.eval()(x).kl
    drawn = torch.stack([estimated(x).kl for _ in range(200)]).detach()  # in training
    assert abs(drawn.mean() - kl) < 5 * drawn.std() / 200**0.5
    estimated.eval()
    drawn = torch.stack([estimated(x).kl for _ in range(200)]).detach()
    assert abs(drawn.mean() - kl) < 5 * drawn.std() / 200**0.5
    assert drawn.std() > 0
    assert torch.equal(estimated(x).latent, estimated.encode(x))
    likelihood, terms = estimated.elbo_terms(x, samples=2000, batch_size=6000)
    torch.testing.assert_close(likelihood - terms, estimated.elbo(x, 2000, 6000), rtol=0, atol=1.0)
    assert abs(terms.mean() - kl) < 0.2


def test_a_standard_prior_by_name_is_the_default() -> None:
    x, default = images(), small(VAE)
    for prior in ("standard", StandardPrior(3), GaussianPrior(3, learned=False)):
        other = small(VAE, prior=prior)
        for ours, theirs in zip(seeded(lambda: default(x)), seeded(lambda one=other: one(x)), strict=True):
            torch.testing.assert_close(ours, theirs)
    assert default.config["prior"] is None
    assert not [key for key in default.state_dict() if key.startswith(("prior", "latent"))]


def test_the_evidence_under_a_mixture() -> None:
    """Linear decoder, Gaussian likelihood: p(x) = Σ w_k N(x; Wμ_k + m, W diag(σ²_k) Wᵀ + s²I)."""
    torch.manual_seed(0)
    weights, means, logvars = [0.3, 0.7], [[-1.5, 0.5], [1.0, 1.0]], [[-1.0, 0.0], [-2.0, -0.5]]
    options = {"components": 2, "weights": weights, "means": means, "logvars": logvars}
    shape, sigma = (1, 2, 3), 0.8
    likelihood: dict[str, Any] = {"likelihood": "gaussian", "likelihood_options": {"sigma": sigma}}
    vae = VAE(1, shape[1:], latent_dim=2, body="mlp", hidden=[], prior="mixture", prior_options=options, **likelihood)
    with torch.no_grad():
        vae.encoder[1].weight.mul_(0.1)
        vae.encoder[1].bias.copy_(torch.tensor([0.3, 0.7, 0.8, 0.5]))  # wide enough for both components
    x = torch.randn(4, *shape)
    w, m = (tensor.detach().double() for tensor in (vae.decoder[1].weight, vae.decoder[1].bias))
    center = torch.tensor(means).double() @ w.T + m
    spread = torch.diag_embed(torch.tensor(logvars).double().exp())
    covariance = w @ spread @ w.T + sigma**2 * torch.eye(6)
    mixing = Categorical(torch.tensor(weights).double())
    exact = MixtureSameFamily(mixing, MultivariateNormal(center, covariance)).log_prob(x.double().flatten(1))
    found = vae.log_likelihood(x, samples=50_000, batch_size=100_000)
    torch.testing.assert_close(found, exact, rtol=0, atol=0.05)
    assert (vae.elbo(x, samples=5000, batch_size=20_000) < exact).all()


def test_a_vamp_prior_is_the_mixture_of_the_posteriors_of_its_pseudo_inputs() -> None:
    vae = model("vamp")
    vae.prior.start_from(images(6, seed=9))
    mean, logvar = vae.posterior(vae.prior.pseudo_inputs)
    exact = MixtureSameFamily(Categorical(torch.ones(6)), Independent(Normal(mean, torch.exp(logvar / 2)), 1))
    z = torch.randn(5, 3)
    torch.testing.assert_close(vae.prior.log_prob(z), exact.log_prob(z))
    assert [key for key in vae.state_dict() if key.startswith("prior")] == ["prior.pseudo_inputs"]
    count = sum(parameter.numel() for parameter in vae.parameters())
    plain = sum(parameter.numel() for parameter in small(VAE, body="mlp", hidden=[20]).parameters())
    assert count == plain + 6 * SIDE * SIDE


def test_a_copy_of_a_vamp_prior_has_the_copys_encoder() -> None:
    vae = model("vamp")
    twin, z = copy.deepcopy(vae), torch.randn(5, 3)
    with torch.no_grad():
        vae.encoder[-1].bias.add_(1)
    assert not torch.equal(twin.prior.log_prob(z), vae.prior.log_prob(z))
    with torch.no_grad():
        twin.encoder[-1].bias.add_(1)
    assert torch.equal(twin.prior.log_prob(z), vae.prior.log_prob(z))


class Maps(nn.Sequential):
    """Images to maps of `width` channels."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Conv2d(1, width, 4, stride=4))


@pytest.mark.parametrize(
    ("name", "latent"), [pair for pair in PAIRS if pair[0] in ("gaussian", "mixture", "vamp", "planar")]
)
def test_maps(name: str, latent: str) -> None:
    """A latent `[B, 2, 2, 2]` is eight numbers to the prior."""
    width = {"gaussian": 4, "full_covariance": 5}[latent]
    parts: dict[str, Any] = {"encoder": Maps(width), "decoder": nn.ConvTranspose2d(2, 1, 4, stride=4)}
    vae, x = small(VAE, latent=latent, prior=name, prior_options=OPTIONS[name], **parts), images()
    assert vae.latent_shape == (2, 2, 2)
    assert vae.prior.dim == 8
    vae(x).loss.backward()
    assert all(parameter.grad is not None for parameter in vae.parameters())
    assert vae.sample(3).shape == (3, 1, SIDE, SIDE)
    assert vae.elbo(x).shape == vae.log_likelihood(x, 3).shape == (4,)
    assert vae.traverse(x[:1], [5], steps=4).shape == (1, 4, 1, 1, SIDE, SIDE)


def test_a_traversal_goes_as_far_as_the_prior() -> None:
    prior = GaussianPrior(3, mean=[0.0, 5.0, -5.0], logvar=[0.0, 2.0, -2.0], learned=False)
    low, high = small(VAE, prior=prior)._range()
    sigma = torch.exp(prior.logvar / 2)
    # the places of 0.00135 of 4,096 draws: between the third and the ninth farthest, at 3.2 to 2.8 σ
    torch.testing.assert_close((low - prior.mean) / sigma, torch.full((3,), -3.0), rtol=0, atol=0.5)
    torch.testing.assert_close((high - prior.mean) / sigma, torch.full((3,), 3.0), rtol=0, atol=0.5)


def test_what_each_element_tells() -> None:
    vae, x = model("gaussian"), images()
    kl = vae.elementwise_kl(x)
    assert kl.shape == (4, 3)
    torch.testing.assert_close(kl.sum(1).mean(), vae.eval()(x).kl)
    assert model("mixture").elementwise_kl(x) is None
    assert model("gaussian", latent="full_covariance").elementwise_kl(x) is None


class OwnPrior(StandardPrior):
    """A class that no config names."""


def test_parts_of_ones_own(tmp_path: Any) -> None:
    vae = small(VAE, prior=OwnPrior(3), latent=GaussianLatent(reduction="latent", parameterization="softplus"))
    assert vae.own_parts == ["prior"]
    with pytest.raises(ValueError, match="own prior"):
        save_model(vae, tmp_path)
    vae = small(VAE, prior=MixturePrior(3), latent=GaussianLatent(reduction="latent", parameterization="softplus"))
    save_model(vae, tmp_path)
    assert load_model(tmp_path).latent.parameterization == "softplus"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"prior": "normal"}, ValueError, "prior must be one of 'standard', .*got 'normal'"),
        ({"prior": 1}, TypeError, "prior must be a name or a Prior; got int"),
        ({"prior": StandardPrior(4)}, ValueError, "prior must have dim=3.*got dim=4"),
        ({"prior_options": {"components": 3}}, ValueError, "prior_options: expected None without a prior"),
        ({"prior": "mixture", "prior_options": {"components": 0}}, ValueError, "components must be at least 1; got 0"),
        ({"prior": "mixture", "free_bits": 0.1}, ValueError, "free_bits: expected 0 under prior 'mixture'"),
        ({"prior": "mixture", "prior_options": [1]}, TypeError, r"prior_options: expected None or a mapping.*\[1\]"),
        ({"prior": VampPrior(3, input_shape=(1, 4, 4))}, ValueError, r"input_shape \[1, 8, 8\].*got \[1, 4, 4\]"),
        ({"prior": "vamp", "latent": "full_covariance"}, ValueError, "prior: expected another than 'vamp'.*diagonal"),
        ({"prior": "beta"}, ValueError, "prior: expected one over .*'real'; got 'beta', over 'unit'"),
        ({"latent": "laplace"}, ValueError, "latent must be one of 'gaussian', .*got 'laplace'"),
        (
            {"latent": GaussianLatent()},
            ValueError,
            "latent must have dim=1, reduction='latent'.*got 1, 'batch' and None",
        ),
        ({"latent": "full_covariance", "free_bits": 0.1}, ValueError, "free_bits: expected 0 where latent is not"),
        ({"latent_options": {"sigma": 1}}, TypeError, "sigma"),
        (
            {"latent": "full_covariance", "encoder": Maps(4)},
            ValueError,
            r"encoder: expected \[1, W, ...\], W one of 2, 5, 9, ..., from one image, got \[1, 4, 2, 2\]",
        ),
        ({"objective_options": {"beta": 1}}, ValueError, "objective_options: expected None without an objective"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        small(VAE, **options)


def test_a_posterior_that_is_no_diagonal_gaussian_has_no_moments() -> None:
    with pytest.raises(ValueError, match="latent: expected a diagonal Gaussian, got 'full_covariance'"):
        small(VAE, latent="full_covariance").posterior(images())


def test_priors_are_told_apart_from_their_moments() -> None:
    """The KL of the loss, by hand, under each prior and the sample that was drawn."""
    x = images()
    for name in OPTIONS:
        vae = model(name).double()
        output = seeded(lambda one=vae: one(x.double()))
        mean, logvar = vae.posterior(x.double())
        expected: Tensor
        if name in ("standard", "gaussian"):
            center, width = (
                (vae.prior.mean, vae.prior.logvar) if name == "gaussian" else (torch.zeros(3), torch.zeros(3))
            )
            ratio = logvar - width
            expected = 0.5 * ((mean - center) ** 2 / width.exp() + ratio.exp() - 1 - ratio).sum(1)
        else:
            prior: Prior = vae.prior
            q = -0.5 * ((output.latent - mean) ** 2 / logvar.exp() + logvar + math.log(2 * math.pi)).sum(1)
            expected = q - prior.log_prob(output.latent)
        torch.testing.assert_close(output.kl, expected.mean(), rtol=1e-9, atol=1e-9)
