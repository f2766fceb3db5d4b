"""What `Autoencoder` and `VAE` share: ways in and out of the latent, own parts, precision, compiling, bad input."""

import copy

import pytest
import torch
from torch import nn

from aevae_fast.losses import LIKELIHOODS, BernoulliLikelihood
from aevae_fast.models import VAE, Autoencoder

from .image_models import KINDS, SIDE, SpatialEncoder, images, same_state, small, state, trained

both = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
BODIES = [
    pytest.param({}, id="convolutional"),
    pytest.param({"downsampling_factor": 1}, id="no-downsampling"),
    pytest.param({"body": "mlp", "hidden": [7, 5]}, id="mlp"),
    pytest.param({"body": "mlp", "hidden": []}, id="linear"),
]


@both
@pytest.mark.parametrize("options", BODIES)
@pytest.mark.parametrize(
    ("channels", "size", "batch"), [(1, 8, 3), (3, (8, 12), 2), (1, 8, 0)], ids=["grey", "colour-not-square", "empty"]
)
def test_shapes_and_a_finite_loss(kind, options, channels, size, batch):
    model = small(kind, channels, size, **options)
    x = images(batch, channels, *model.image_size)
    output = model(x)
    output.loss.backward()
    assert output.reconstruction.shape == x.shape
    assert output.latent.shape == (batch, 3) == (batch, *model.latent_shape)
    for name in ("loss", "reconstruction_loss"):
        assert getattr(output, name).ndim == 0
        assert getattr(output, name).isfinite()


@both
@pytest.mark.parametrize("options", BODIES)
def test_every_weight_gets_a_gradient(kind, options):
    model = small(kind, **options)
    model(images()).loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@both
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_likelihood_trains_decodes_and_samples(kind, name):
    model = small(kind, 3, body="mlp", hidden=[4], likelihood=name)
    x = images(2, 3)
    output = model(x)
    output.loss.backward()
    expected = -model.likelihood.log_prob(model.decoder(output.latent), x).mean()
    torch.testing.assert_close(output.reconstruction_loss, expected)
    for pictures in (model.sample(5), model.reconstruct(x), output.reconstruction):
        assert pictures.shape[1:] == x.shape[1:]
        assert pictures.min() >= 0
        assert pictures.max() <= 1


@both
def test_the_ways_in_and_out_agree(kind):
    model = trained(kind).eval()
    x = images()
    latent, output = model.encode(x), model(x)
    assert torch.equal(latent, output.latent)
    torch.testing.assert_close(model.decode(latent), output.reconstruction)
    assert torch.equal(model.reconstruct(x), model.decode(latent))
    torch.testing.assert_close(model.decode(latent), model.decoder(latent).sigmoid())


@both
def test_use_in_training_mode_changes_nothing(kind):
    model = trained(kind, noise=0.1) if kind is Autoencoder else trained(kind)
    before = state(model)
    model.reconstruct(images())
    model.sample(2)
    model.interpolate(images(), images())
    model.traverse(images())
    assert same_state(model, before)
    assert all(module.training for module in model.modules())


@both
@pytest.mark.parametrize("mode", ["linear", "slerp"])
def test_interpolation_goes_from_one_image_to_the_other(kind, mode):
    model = trained(kind)
    a, b = images(3), images(3, seed=2)
    way = model.interpolate(a, b, steps=5, mode=mode)
    assert way.shape == (5, *a.shape)
    torch.testing.assert_close(way[0], model.reconstruct(a))
    torch.testing.assert_close(way[-1], model.reconstruct(b))
    if mode == "linear":
        torch.testing.assert_close(way[2], model.decode((model.encode(a) + model.encode(b)) / 2))


@both
def test_a_traversal_moves_one_element(kind):
    model, x = trained(kind), images(2)
    pictures = model.traverse(x, [2, 0], steps=3, low=-1, high=2)
    assert pictures.shape == (2, 3, *x.shape)
    for place, dim in enumerate([2, 0]):
        for step, value in enumerate([-1, 0.5, 2]):
            latent = model.encode(x)
            latent[:, dim] = value
            torch.testing.assert_close(pictures[place, step], model.decode(latent))
    assert model.traverse(x, steps=2).shape == (3, 2, *x.shape)
    assert model.traverse(x, [], steps=2).shape == (0, 2, *x.shape)


def test_a_traversal_takes_the_models_own_ends():
    vae, autoencoder, x = trained(VAE), trained(Autoencoder), images(2)
    torch.testing.assert_close(vae.traverse(x, [1]), vae.traverse(x, [1], low=-3, high=3))
    low, high = (float(end[1]) for end in (autoencoder.statistics.low, autoencoder.statistics.high))
    torch.testing.assert_close(autoencoder.traverse(x, [1]), autoencoder.traverse(x, [1], low=low, high=high))


@both
def test_sampling_follows_the_generator(kind):
    model = trained(kind)
    draws = [model.sample(4, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert model.sample(0).shape == (0, 1, SIDE, SIDE)


@both
def test_own_parts_with_a_map_for_a_latent(kind):
    blocks = 2 if kind is VAE else 1
    encoder, decoder = SpatialEncoder(3, 4, blocks), nn.ConvTranspose2d(4, 3, 4, stride=4)
    before = state(encoder)
    model = small(kind, 3, (8, 12), encoder=encoder, decoder=decoder)
    assert same_state(encoder, before)
    assert model.encoder is encoder
    assert model.decoder is decoder
    assert model.latent_shape == (4, 2, 3)
    x = images(5, 3, 8, 12)
    model(x).loss.backward()
    assert model.encode(x).shape == (5, 4, 2, 3)
    assert model.sample(2).shape == (2, 3, 8, 12)
    assert model.interpolate(x, x, 3, "slerp").shape == (3, *x.shape)
    assert model.traverse(x, [23], steps=2).shape == (1, 2, *x.shape)
    larger = images(2, 3, 16, 16)
    assert model.eval().reconstruct(larger).shape == larger.shape  # theirs to take


def test_a_map_is_split_along_its_channels():
    model = small(VAE, 1, 8, encoder=SpatialEncoder(1, 4, 2), decoder=nn.ConvTranspose2d(4, 1, 4, stride=4)).eval()
    x = images()
    encoded = model.encoder(x)
    mean, logvar = model.posterior(x)
    assert torch.equal(mean, encoded[:, :4])
    assert torch.equal(logvar, encoded[:, 4:])
    assert torch.equal(model.encode(x), mean)


@both
def test_one_own_part_goes_with_a_built_in_one(kind):
    blocks = 2 if kind is VAE else 1
    model = small(kind, 3, 8, encoder=SpatialEncoder(3, 4, blocks))
    assert model.latent_shape == (4, 2, 2)
    assert model.reconstruct(images(2, 3)).shape == (2, 3, 8, 8)
    own = nn.Sequential(nn.Linear(3, 64), nn.Unflatten(1, (1, 8, 8)))
    assert small(kind, decoder=own).reconstruct(images()).shape == (4, 1, 8, 8)


@both
def test_a_given_latent_shape_is_not_asked_for(kind):
    class Silent(nn.Module):
        def forward(self, x):
            raise AssertionError("was asked")

    model = small(kind, encoder=Silent(), decoder=Silent(), latent_shape=(4, 2, 2))
    assert model.latent_shape == (4, 2, 2)


def test_an_own_likelihood_is_used():
    class Mine(BernoulliLikelihood):
        pass

    model = small(VAE, likelihood=Mine())
    assert model.own_parts == ["likelihood"]
    assert small(VAE, likelihood=BernoulliLikelihood()).own_parts == []


HALF = [pytest.param(torch.bfloat16, id="bf16"), pytest.param(torch.float16, id="fp16")]


@both
@pytest.mark.parametrize("dtype", HALF)
def test_half_precision(kind, dtype):
    model = small(kind, noise=0.05) if kind is Autoencoder else small(kind)
    exact = model(images()).loss
    model = model.to(dtype)
    x = images().to(dtype)
    output = model(x)
    output.loss.backward()
    assert output.latent.dtype == dtype
    assert output.loss.dtype == torch.float32  # summed over pixels: thousands of nats
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    # the noise is another, but an untrained decoder hardly listens to it
    torch.testing.assert_close(output.loss, exact, rtol=4 * torch.finfo(dtype).eps, atol=0)
    assert model.encode(x).dtype == dtype
    for pictures in (model.reconstruct(x), model.sample(2), model.interpolate(x, x), model.traverse(x, [0])):
        assert pictures.isfinite().all()


@both
@pytest.mark.parametrize("dtype", HALF)
def test_autocast(kind, dtype):
    model, x = small(kind), images()
    exact = model(x).loss
    with torch.autocast("cpu", dtype):
        output = model(x)
        assert model.interpolate(x, x, 3, "slerp").isfinite().all()
    output.loss.backward()
    assert output.loss.dtype == torch.float32
    torch.testing.assert_close(output.loss, exact, rtol=4 * torch.finfo(dtype).eps, atol=0)


@both
@pytest.mark.parametrize("body", ["convolutional", "mlp"])
def test_a_training_step_compiles_without_a_break(kind, body):
    """A break is what a look from the host would be, too."""
    torch._dynamo.reset()
    options = {"noise": 0.05} if kind is Autoencoder else {"free_bits": 0.1, "capacity": 2.0}
    eager, x = small(kind, body=body, hidden=[5], **options), images()
    compiled = copy.deepcopy(eager)
    losses = []
    for model, step in ((eager, eager), (compiled, torch.compile(compiled, fullgraph=True, backend="aot_eager"))):
        torch.manual_seed(3)
        losses.append(step(x).loss)
        losses[-1].backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
    torch.testing.assert_close(*losses)
    for mine, theirs in zip(compiled.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-4)
    for name, value in eager.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], value)


@both
def test_a_state_that_does_not_fit_leaves_the_model_as_it_was(kind):
    model, other = trained(kind), small(kind).state_dict()
    before = state(model)
    other["decoder.1.weight"] = torch.ones(1)
    with pytest.raises(RuntimeError, match=r"decoder.1.weight"):
        model.load_state_dict(other)
    assert same_state(model, before)


@both
def test_something_not_finite_is_not_hidden(kind):
    x = images()
    for weight in (torch.nan, torch.inf):
        model = small(kind, body="mlp", hidden=[4])
        with torch.no_grad():
            model.encoder[-1].bias[-1] = weight
        assert not model(x).loss.isfinite()


@both
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"in_channels": 0}, ValueError, "in_channels: .*got 0"),
        ({"image_size": 10}, ValueError, "image_size: .*=4, got 10x10; 8x8 and 12x12 are the nearest"),
        ({"image_size": (8, 9)}, ValueError, "image_size: .*got 8x9; 8x8 and 12x12 "),
        ({"image_size": 3}, ValueError, "image_size: .*got 3x3; 4x4 "),
        ({"image_size": 0, "body": "mlp"}, ValueError, "image_size: .*got 0"),
        ({"image_size": "8"}, TypeError, "image_size: .*got '8'"),
        ({"latent_dim": 0}, ValueError, "latent_dim: .*got 0"),
        ({"latent_dim": 2.5}, TypeError, "latent_dim: .*got 2.5"),
        ({"body": "transformer"}, ValueError, "body: expected one of convolutional, mlp, got 'transformer'"),
        ({"likelihood": "poisson"}, ValueError, "likelihood .*'bernoulli', 'gaussian'.*got 'poisson'"),
        ({"likelihood": "gaussian", "likelihood_options": {"sigma": 0}}, ValueError, "sigma must be above 0"),
        ({"hidden": 400}, TypeError, "hidden: expected a sequence of whole numbers, got 400"),
        ({"hidden": [0], "body": "mlp"}, ValueError, "hidden: .*got 0"),
        ({"channels": 0}, ValueError, "channels: .*got 0"),
        ({"residual_blocks": -1}, ValueError, "residual_blocks: .*got -1"),
        ({"downsampling_factor": 3}, ValueError, "downsampling_factor: .*power of two.*got 3"),
        ({"encoder": "mine"}, TypeError, "encoder: expected None or a module, got 'mine'"),
        ({"latent_shape": (4,)}, ValueError, "latent_shape: .*without an own encoder"),
        ({"encoder": nn.Conv2d(1, 3, 4), "latent_shape": 4}, TypeError, "latent_shape: .*got 4"),
        ({"encoder": nn.Flatten(0)}, ValueError, r"encoder: expected \[1, .*D, ...\] .*got \[64\]"),
        ({"decoder": nn.Linear(3, 64)}, ValueError, r"decoder: expected \[1, 1, 8, 8\].*\[1, 3\], got \[1, 64\]"),
    ],
)
def test_wrong_arguments_are_named(kind, arguments, error, message):
    with pytest.raises(error, match=message):
        small(kind, **arguments)


@both
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        pytest.param(images(2, 3), ValueError, r"x: .*in_channels=1.*\[2, 3, 8, 8\]", id="channels"),
        pytest.param(images()[0], ValueError, r"x: .*\[1, 8, 8\]", id="no-batch"),
        pytest.param(images(2, 1, 8, 12), ValueError, "x: .*image_size 8x8, got 8x12", id="size"),
        pytest.param(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), TypeError, "x: .*uint8", id="dtype"),
        pytest.param([[0.5]], TypeError, "x: .*list", id="no-tensor"),
        pytest.param(2 * images(), ValueError, r"x must lie in \[0, 1\]", id="range"),
    ],
)
def test_wrong_images_are_named(kind, x, error, message):
    model = small(kind)
    with pytest.raises(error, match=message):
        model(x)
    if "lie in" not in message:
        with pytest.raises(error, match=message):
            model.reconstruct(x)


@both
@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        pytest.param(lambda m: m.decode(torch.zeros(2, 4)), ValueError, r"latent: .*\[B, 3\].*\[2, 4\]", id="width"),
        pytest.param(lambda m: m.decode(torch.zeros(3)), ValueError, r"latent: .*\[3\]", id="no-batch"),
        pytest.param(lambda m: m.decode(torch.zeros(2, 3).long()), TypeError, "latent: .*int64", id="dtype"),
        pytest.param(lambda m: m.sample(-1), ValueError, "n: .*got -1", id="negative-count"),
        pytest.param(lambda m: m.sample(1.5), TypeError, "n: .*got 1.5", id="count-not-whole"),
        pytest.param(
            lambda m: m.interpolate(images(), images(), mode="cubic"),
            ValueError,
            "linear, slerp, got 'cubic'",
            id="mode",
        ),
        pytest.param(lambda m: m.interpolate(images(), images(), 1), ValueError, "steps: .*got 1", id="steps"),
        pytest.param(
            lambda m: m.interpolate(images(2), images(3)), ValueError, r"b: .*\[2, 3\], got \[3, 3\]", id="counts"
        ),
        pytest.param(lambda m: m.traverse(images(), steps=1), ValueError, "steps: .*got 1", id="traverse-steps"),
        pytest.param(lambda m: m.traverse(images(), [3]), ValueError, r"dims: .*\[0, 3\), got 3", id="dims"),
        pytest.param(lambda m: m.traverse(images(), [0.5]), TypeError, "dims: .*got 0.5", id="dims-not-whole"),
    ],
)
def test_wrong_uses_are_named(kind, use, error, message):
    with pytest.raises(error, match=message):
        use(trained(kind))


@both
def test_it_says_what_it_is(kind):
    assert "image=1x8x8, latent=3" in repr(small(kind))
