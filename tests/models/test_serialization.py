"""Models to a folder and back."""

import json
from pathlib import Path

import pytest
import torch

from aevae_fast.models import VQVAE, ConvolutionalEncoder, load_model, save_model


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


def test_own_parts_cannot_be_described(tmp_path):
    model = VQVAE(encoder=ConvolutionalEncoder(1, 8, 64, 2, 1))
    with pytest.raises(ValueError, match="own encoder"):
        save_model(model, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "expected a model's config, got another file", id="empty"),
        pytest.param(b"\x80\x02\xff\xfe", "expected a model's config, got another file", id="binary"),
        pytest.param(b"[]", "expected a model's config, got another file", id="a-list"),
        pytest.param(b"{}", "expected a model's config.*'model'", id="keys-missing"),
        pytest.param({"model": ["VQVAE"]}, r"one of VQVAE, .*got format 1 and \['VQVAE'\]", id="unhashable-name"),
        pytest.param({"model": "GAN"}, "one of VQVAE, Autoencoder, VAE, got format 1 and 'GAN'", id="unknown-model"),
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
