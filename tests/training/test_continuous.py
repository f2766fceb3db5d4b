"""Autoencoders and VAEs in training: what is measured, what is remembered, what is refused."""

import dataclasses
import json
import math

import pytest
import torch
from PIL import Image
from torch import nn

from aevae_fast.data import ImageSplits, ImageTensor
from aevae_fast.models import VAE, Autoencoder, load_model
from aevae_fast.training import AutoencoderSettings, VAESettings, evaluate, fit, load_settings, train_run
from aevae_fast.training.families import draw_interpolations, family_of, log_likelihood
from aevae_fast.training.families.vae import VAEFamily
from aevae_fast.training.runs import build_model

from .conftest import SMALL_NOISY, SMALL_VAE, TINY

PICTURES = ["curves.png", "interpolations.png", "reconstructions.png", "samples.png", "traversals.png"]


def untrained(settings, images):
    return build_model(dataclasses.replace(settings, warmup=0) if settings.family == "vae" else settings, images)


def test_a_vae_is_measured_in_nats_an_image(images):
    model = untrained(SMALL_VAE, images)
    measured = evaluate(model, images.held_out, batch_size=50)
    held_out = images.held_out.images
    with torch.no_grad():
        mean, logvar = model.posterior(held_out)
    kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar)
    assert measured.kl == pytest.approx(float(kl.sum(1).mean()), rel=1e-4)
    assert measured.elbo == pytest.approx(-(measured.reconstruction_loss + measured.kl))
    assert measured.bits_per_dim == pytest.approx(-measured.elbo / (64 * math.log(2)))
    many = float(model.elbo(held_out, samples=20).mean())
    assert measured.elbo == pytest.approx(many, abs=1.0)  # one sample an image, 180 images


def test_an_autoencoder_is_measured_without_its_noise(images):
    model = untrained(SMALL_NOISY, images)
    measured = evaluate(model, images.held_out, batch_size=50)
    held_out = images.held_out.images
    with torch.no_grad():
        log_prob = model.likelihood.log_prob(model.decoder(model.encoder(held_out)), held_out)
    assert measured.reconstruction_loss == pytest.approx(-float(log_prob.mean()), rel=1e-5)
    assert measured.reconstruction.mse == pytest.approx(float((model.reconstruct(held_out) - held_out).square().mean()))


@pytest.mark.parametrize("settings", [SMALL_VAE, SMALL_NOISY], ids=["vae", "noisy"])
def test_measuring_changes_nothing_and_is_the_same_each_time(images, settings):
    model = untrained(settings, images).train()
    state, random_state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    first, second = evaluate(model, images.held_out), evaluate(model, images.held_out)
    assert first.as_dict() == second.as_dict()
    assert torch.equal(torch.get_rng_state(), random_state)
    assert model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_log_likelihood_is_the_models_own_over_the_whole_set(vae_run, images):
    model = load_model(vae_run[0] / "model")
    generator = torch.Generator().manual_seed(0)
    own = [model.log_likelihood(part, 5, 50, generator=generator) for part in images.held_out.images.split(50)]
    assert log_likelihood(model, images.held_out, 5, batch_size=50) == pytest.approx(float(torch.cat(own).mean()))


@pytest.mark.parametrize("part", ["encoder", "decoder"])
@pytest.mark.parametrize("settings", [SMALL_VAE, SMALL_NOISY], ids=["vae", "noisy"])
def test_a_ruined_model_is_called_so(images, settings, part):
    model = untrained(settings, images)
    next(getattr(model, part).parameters()).data.fill_(torch.nan)
    with pytest.raises(ArithmeticError, match=r"the (reconstruction error|kl|reconstruction loss) is nan"):
        evaluate(model, images.held_out)


def test_the_history_has_both_parts_of_the_loss(vae_run):
    _, result, _ = vae_run
    assert set(result.history.train) == {"step", "loss", "reconstruction_loss", "kl"}
    assert result.history.train["step"] == [10.0, 20.0]
    assert {"mse", "reconstruction_loss", "kl", "elbo"} < set(result.history.evaluated)
    assert result.history.evaluated["step"][-1] == 24.0


def test_a_run_leaves_metrics_pictures_and_the_model(vae_run, images):
    out, result, report = vae_run
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics == report.metrics
    assert (metrics["model"], metrics["steps"]) == ("VAE", 24)
    assert metrics["held_out"]["elbo"] == result.history.evaluated["elbo"][-1]
    assert load_settings(out) == SMALL_VAE
    assert evaluate(load_model(out / "model"), images.held_out).as_dict() == report.held_out.as_dict()
    assert sorted(file.name for file in (out / "pictures").iterdir()) == PICTURES
    for name in PICTURES:
        with Image.open(out / "pictures" / name) as picture:
            assert min(picture.size) > 300
            assert len(set(picture.convert("L").tobytes())) > 10


def test_a_latent_of_two_is_drawn_as_a_plane(images):
    model = untrained(dataclasses.replace(SMALL_VAE, latent_dim=2), images)
    names = [name for name, _ in family_of(model).pictures(model, images, None)]
    assert names == ["reconstructions", "samples", "interpolations", "traversals", "manifold"]


@pytest.mark.parametrize("settings", [SMALL_VAE, SMALL_NOISY], ids=["vae", "noisy"])
def test_one_held_out_image_is_enough_to_finish(images, settings, tmp_path):
    few = ImageSplits("few", ImageTensor(images.train.images[:1]), ImageTensor(images.held_out.images[:1]))
    settings = dataclasses.replace(settings, steps=2, batch_size=1)
    report = train_run(settings, few, tmp_path / "run")[1]
    assert report.metrics["held_out"]["images"] == 1
    drawn = sorted(file.name for file in (tmp_path / "run" / "pictures").iterdir())
    assert drawn == [name for name in PICTURES if name != "interpolations.png"]
    model = load_model(tmp_path / "run" / "model")
    with pytest.raises(ValueError, match="expected at least 2 held-out images to go between, got 1"):
        draw_interpolations(model, few.held_out, pairs=1, steps=2)


def test_the_numbers_are_kept_when_a_picture_fails(images, tmp_path, monkeypatch):
    def fails(self, model, images, train):
        raise OSError("no room for pictures")
        yield

    monkeypatch.setattr(VAEFamily, "pictures", fails)
    with pytest.raises(OSError, match="no room for pictures"):
        train_run(dataclasses.replace(SMALL_VAE, steps=2), images, tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text())["steps"] == 2
    assert isinstance(load_model(tmp_path / "model"), VAE)


class Watched(nn.Module):
    """A model that notes the step at each forward."""

    def __init__(self, model):
        super().__init__()
        self.model, self.seen = model, []

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.model, name)

    def forward(self, x):
        self.seen.append((int(self.model.step), float(self.model.weights()[0])))
        return self.model(x)


def test_the_model_is_told_the_step(images, tmp_path):
    model = Watched(build_model(SMALL_VAE, images))
    fit(model, images, tmp_path, steps=12, batch_size=32, device="cpu")
    assert model.seen == [(step, pytest.approx(2.0 * min(1, step / 10))) for step in range(12)]


def test_warmup_is_of_the_capacity_where_there_is_one(images):
    model = build_model(dataclasses.replace(SMALL_VAE, capacity=5.0, beta=30.0), images)
    model.set_step(5)
    beta, capacity = model.weights()
    assert (float(beta), float(capacity)) == (30.0, pytest.approx(2.5))


def test_a_gaussian_learns_its_scale(images):
    model = build_model(AutoencoderSettings(**TINY, likelihood="gaussian"), images)
    assert isinstance(model, Autoencoder)
    assert "likelihood.log_sigma" in dict(model.named_parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta": -1.0}, "beta: .*-1"),
        ({"capacity": -1.0}, "capacity: .*-1"),
        ({"warmup": -1}, "warmup: expected 0 steps or more, got -1"),
        ({"latent_dim": 0}, "latent_dim: .*got 0"),
        ({"likelihood": "guess"}, "likelihood must be one of 'bernoulli'.*'guess'"),
        ({"body": "brain"}, "body: expected one of convolutional, mlp, got 'brain'"),
        ({"downsampling_factor": 16}, "downsampling_factor=16, got 8x8"),
        ({"downsampling_factor": 3}, "downsampling_factor: expected a power of two"),
    ],
)
def test_settings_that_do_not_fit_are_named(images, change, message):
    with pytest.raises(ValueError, match=message):
        build_model(dataclasses.replace(SMALL_VAE, **change), images)


def test_noise_below_zero_is_named(images):
    with pytest.raises(ValueError, match=r"noise: .*got -0.1"):
        build_model(AutoencoderSettings(**TINY, noise=-0.1), images)


def test_images_outside_the_range_are_named(images, tmp_path):
    wrong = ImageSplits("wrong", ImageTensor(images.train.images.clone()), images.held_out)
    wrong.train.images.mul_(255)
    with pytest.raises(ValueError, match=r"\[0, 1\].*divide 8-bit images by 255"):
        fit(untrained(SMALL_VAE, images), wrong, tmp_path, steps=2, batch_size=32, device="cpu")


def test_an_empty_data_set_is_named(images, tmp_path):
    empty = ImageSplits("empty", [], images.held_out)
    with pytest.raises(ValueError, match="expected at least one training image, got an empty data set"):
        fit(untrained(SMALL_VAE, images), empty, tmp_path, steps=2, batch_size=32, device="cpu")


def test_a_module_of_no_family_is_named(images):
    families = "vqvae, vae, ae, beta-tcvae, code-prior, codec"
    with pytest.raises(TypeError, match=rf"expected one of {families} .*, got Linear"):
        evaluate(nn.Linear(2, 2), images.held_out)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (VAESettings(latent_dim=3), "VAE with a latent of 3"),
        (VAESettings(beta=4.0), "β-VAE with a latent of 16, β = 4"),
        (VAESettings(capacity=25.0, beta=100.0), "β-VAE with a latent of 16, β = 100, capacity 25 nats"),
        (AutoencoderSettings(), "Autoencoder with a latent of 16"),
        (AutoencoderSettings(noise=0.05), "Noisy autoencoder with a latent of 16, noise 0.05"),
    ],
)
def test_a_model_in_words(settings, words):
    model = VAE(1, 8, latent_dim=2, channels=4) if settings.family == "vae" else Autoencoder(1, 8, channels=4)
    assert family_of(model).describe(settings) == words
