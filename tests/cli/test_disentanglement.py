"""`aevae-fast evaluate --disentanglement` on sprites, and its mistakes."""

import json

import pytest

from aevae_fast.cli.app import run
from aevae_fast.data import Sprites, sources
from aevae_fast.data.sprites_sources import _split


@pytest.fixture(autouse=True)
def few_sprites(monkeypatch):
    def few(image_size=8):
        grid = Sprites(("shape", "x"), values={"x": range(0, 32, 4)}, image_size=image_size)
        return _split("sprites", grid, grid.factors, grid.factor_names)

    monkeypatch.setitem(sources._SIZED, "sprites", few)


@pytest.fixture
def trained(tmp_path):
    out = tmp_path / "vae"
    small = ["--steps", "3", "--batch-size", "8", "--body", "mlp", "--latent-dim", "2", "--device", "cpu"]
    assert run(["train", "vae", "--data", "sprites", "--image-size", "8", *small, "--out", str(out)]) == 0
    return out


def test_numbers_and_picture(trained, tmp_path, capsys):
    out = tmp_path / "found"
    options = ["--samples", "0", "--disentanglement", "--booster", "random_forest", "--out", str(out)]
    assert run(["evaluate", str(trained), *options]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Disentanglement over 24 images: shape, x" in shown
    assert all(name in shown for name in ("MIG, sampled codes", "β-VAE metric", "SAP", "explicitness"))
    numbers = json.loads((out / "disentanglement.json").read_text())
    assert (numbers["data"], numbers["factor_names"]) == ("sprites", ["shape", "x"])
    assert len(numbers["mig"]["information"]) == 2
    assert (out / "information.png").stat().st_size > 0


def test_data_without_factors(trained, capsys, tmp_path):
    assert run(["evaluate", str(trained), "--data", "digits", "--disentanglement", "--out", str(tmp_path / "o")]) == 2
    error = capsys.readouterr().err
    assert "disentanglement: data: expected images whose factors are known" in error
    assert "(digits)" in error
    assert not (tmp_path / "o").exists()
    assert run(["evaluate", str(trained), "--disentanglement", "--booster", "lightning"]) == 2
    assert "booster: expected gradient_boosting, random_forest" in capsys.readouterr().err
