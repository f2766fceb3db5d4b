"""Models to a folder and back."""

import json
from pathlib import Path

import pytest
import torch

from aevae_fast.losses import BernoulliLikelihood, SigmoidSchedule
from aevae_fast.models import VAE, VQVAE, Autoencoder, ConvolutionalEncoder, load_model, save_model

from .image_models import images, small, trained


@pytest.fixture
def model():
    torch.manual_seed(0)
    options = {"kmeans_init": True, "threshold_ema_dead_code": 0.5}
    return VQVAE(3, (16, 8), channels=8, codebook_size=16, codebook_dim=4, quantizer_options=options)


def test_what_comes_back_does_the_same(model, tmp_path):
    model(torch.rand(8, 3, 16, 8)).loss.backward()
    torch.optim.Adam(model.parameters()).step()
    save_model(model, tmp_path / "a" / "b")
    loaded = load_model(tmp_path / "a" / "b")
    assert loaded.config == model.config
    assert not loaded.training
    x = torch.rand(2, 3, 16, 8)
    assert torch.equal(loaded.encode(x), model.encode(x))
    assert torch.equal(loaded.reconstruct(x), model.reconstruct(x))


def test_the_files_hold_no_pickle(model, tmp_path):
    save_model(model, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
    assert json.loads((tmp_path / "config.json").read_text())["config"]["image_size"] == [16, 8]


SAVED = {
    "autoencoder": lambda: trained(Autoencoder),
    "noisy-autoencoder": lambda: trained(Autoencoder, noise=0.05, in_channels=3, image_size=(8, 12)),
    "mlp-autoencoder": lambda: trained(Autoencoder, body="mlp", hidden=(5, 4), likelihood="categorical"),
    "vae": lambda: trained(VAE, free_bits=0.1, clamp=None),
    "beta-vae": lambda: trained(VAE, beta=4, capacity={"name": "linear", "start": 0, "end": 5, "steps": 10}),
    "schedule": lambda: trained(VAE, beta=SigmoidSchedule(0.0, 1.0, 9, steepness=5.0), body="mlp"),
    "learned-sigma": lambda: trained(VAE, likelihood="gaussian", likelihood_options={"learned": True}),
    "likelihood-module": lambda: trained(VAE, likelihood=BernoulliLikelihood(subtract_true_entropy=True)),
}


@pytest.mark.parametrize("build", SAVED.values(), ids=SAVED)
def test_continuous_models_come_back_as_they_were(build, tmp_path):
    model = build()
    torch.optim.Adam(model.parameters(), 0.1).step()
    if isinstance(model, VAE):
        model.set_step(3)
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert type(loaded) is type(model)
    assert repr(loaded) == repr(model.eval())
    assert loaded.config == json.loads(json.dumps(model.config)) == model.config
    before, after = model.state_dict(), loaded.state_dict()
    assert all(torch.equal(before[name], value) for name, value in after.items())
    x = images(2, model.in_channels, *model.image_size)
    assert torch.equal(loaded(x).loss, model(x).loss)
    draws = [one.sample(2, generator=torch.Generator().manual_seed(1)) for one in (loaded, model)]
    assert torch.equal(*draws)


class _Mine(BernoulliLikelihood):
    pass


@pytest.mark.parametrize(
    ("build", "part"),
    [
        pytest.param(lambda: VQVAE(encoder=ConvolutionalEncoder(1, 8, 64, 2, 1)), "encoder", id="vqvae"),
        pytest.param(lambda: small(VAE, encoder=ConvolutionalEncoder(1, 8, 6, 2, 1)), "encoder", id="vae"),
        pytest.param(
            lambda: small(Autoencoder, decoder=torch.nn.Unflatten(1, (1, 8, 8)), latent_dim=64), "decoder", id="decoder"
        ),
        pytest.param(lambda: small(VAE, likelihood=_Mine()), "likelihood", id="likelihood"),
    ],
)
def test_own_parts_cannot_be_described(build, part, tmp_path):
    with pytest.raises(ValueError, match=f"own {part}"):
        save_model(build(), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"beta": -1}, "beta: .*got -1", id="beta"),
        pytest.param({"beta": {"name": "cosine"}}, "beta: .*got 'cosine'", id="schedule"),
        pytest.param({"capacity": "much"}, "capacity: .*str", id="capacity"),
        pytest.param({"likelihood": "poisson"}, "likelihood must be one of", id="likelihood"),
        pytest.param({"likelihood_options": {"colour": 1}}, "expected arguments of VAE.*'colour'", id="option"),
        pytest.param({"likelihood_options": [1]}, "expected arguments of VAE", id="options-a-list"),
        pytest.param({"body": ["mlp"]}, "expected arguments of VAE", id="body"),
        pytest.param({"hidden": [0], "body": "mlp"}, "hidden: .*got 0", id="hidden"),
        pytest.param({"latent_dim": 10**15}, "expected arguments of VAE", id="too-large-for-memory"),
        pytest.param({"encoder": "mine"}, "encoder: expected None or a module, got 'mine'", id="own-part"),
        pytest.param({"latent_dim": 4}, "do not fit the config beside them", id="other-weights"),
        pytest.param({"noise": 0.1}, "expected arguments of VAE.*'noise'", id="an-autoencoders"),
    ],
)
def test_a_wrong_config_of_a_continuous_model_is_one_clear_error(change, message, tmp_path):
    save_model(small(VAE), tmp_path)
    file = tmp_path / "config.json"
    saved = json.loads(file.read_text())
    file.write_text(json.dumps(saved | {"config": saved["config"] | change}))
    with pytest.raises(ValueError, match=message) as caught:
        load_model(tmp_path)
    assert type(caught.value) is ValueError
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "expected a model's config, got another file", id="empty"),
        pytest.param(b"\x80\x02\xff\xfe", "expected a model's config, got another file", id="binary"),
        pytest.param(b"[]", "expected a model's config, got another file", id="a-list"),
        pytest.param(b"{}", "expected a model's config.*'model'", id="keys-missing"),
        pytest.param({"model": ["VQVAE"]}, r"one of VQVAE, .*got format 1 and \['VQVAE'\]", id="unhashable-name"),
        pytest.param(
            {"model": "GAN"},
            "one of VQVAE, Autoencoder, VAE, IWAE, FactorVAE, CodePrior, AudioCodec, got format 1 and 'GAN'",
            id="unknown-model",
        ),
        pytest.param({"config": [1, 2]}, r"expected an object of arguments of VQVAE.*got \[1, 2\]", id="config-a-list"),
        pytest.param({"config": {"colour": 1}}, "expected arguments of VQVAE.*'colour'", id="unknown-key"),
        pytest.param({"config": {"channels": "8"}}, "channels: expected a whole number, got '8'", id="wrong-type"),
        pytest.param({"config": {"channels": 0}}, "channels: expected a positive number, got 0", id="out-of-range"),
        pytest.param({"config": {"codebook_size": 10**30}}, "expected arguments of VQVAE", id="too-large-a-number"),
        pytest.param({"config": {"codebook_size": 10**15}}, "expected arguments of VQVAE", id="too-large-for-memory"),
        pytest.param({"config": {"quantizer_options": [1]}}, "expected arguments of VQVAE", id="options-a-list"),
        pytest.param({"config": {"encoder": "mine"}}, "expected plain values.*got encoder", id="own-part"),
    ],
)
def test_a_wrong_config_is_one_clear_error(model, tmp_path, content, message):
    save_model(model, tmp_path)
    file = tmp_path / "config.json"
    if isinstance(content, dict):
        content = json.dumps(json.loads(file.read_text()) | content).encode()
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        load_model(tmp_path)
    assert type(caught.value) is ValueError
    assert str(caught.value).startswith(f"{file}: ")


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_broken_weights_are_one_clear_error(model, tmp_path, length):
    save_model(model, tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"expected weights in the safetensors format, got a broken file") as caught:
        load_model(tmp_path)
    assert str(caught.value).startswith(f"{file}: ")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(model, tmp_path, name):
    save_model(model, tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"expected a saved model, but {name} is not there"):
        load_model(tmp_path)


@pytest.mark.parametrize("interrupted", ["safetensors.torch.save_file", "json.dumps", "pathlib.Path.write_text"])
def test_an_interrupted_export_leaves_the_older_one(model, tmp_path, monkeypatch, interrupted):
    save_model(model, tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def interrupt(*arguments, **_):
        for file in arguments:
            if isinstance(file, Path):
                file.write_bytes(b"half of")
        raise KeyboardInterrupt

    monkeypatch.setattr(interrupted, interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_model(VQVAE(channels=8, codebook_size=4, codebook_dim=2), tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_errors_when_reading(model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere.*config.json"):
        load_model(tmp_path / "nowhere")
    save_model(model, tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"format_version": 99}))
    with pytest.raises(ValueError, match="format 99"):
        load_model(tmp_path)
    file.write_text(json.dumps(config | {"config": config["config"] | {"codebook_size": 17}}))
    with pytest.raises(ValueError, match=r"do not fit the config.*(embed|cluster)"):
        load_model(tmp_path)
    file.write_text("[]")
    with pytest.raises(ValueError, match="expected a model's config"):
        load_model(tmp_path)
