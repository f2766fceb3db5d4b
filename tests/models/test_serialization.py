"""Models to a folder and back."""

import json

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
