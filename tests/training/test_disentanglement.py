"""Disentanglement of trained models: codes and factors from data and model, the table, the picture."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from aevae_fast.data import FactorImages, Sprites, digits
from aevae_fast.metrics.disentanglement import mutual_information_gap, mutual_information_gap_posterior
from aevae_fast.models import VAE, VQVAE, Autoencoder
from aevae_fast.training.disentanglement import codes_of, factors_of, measure_disentanglement
from aevae_fast.training.pictures import draw_information

GRID = Sprites(("shape", "x", "y"), values={"x": (0, 10, 20, 31), "y": (0, 10, 20, 31)}, image_size=8)
PARTS = [FactorImages(GRID, part, GRID.factors, GRID.factor_names) for part in (range(3, 48), range(3))]


class Place(nn.Module):
    """Where the white pixels are, and how many: codes 0 and 2 are x and y."""

    def forward(self, x):
        mass = x.sum((1, 2, 3))
        right = (x.sum((1, 2)) * torch.arange(8)).sum(1) / mass
        down = (x.sum((1, 3)) * torch.arange(8)).sum(1) / mass
        mean = torch.stack([right, mass, down], 1)
        return torch.cat([mean, torch.full_like(mean, -6.0)], 1)


def place_model():
    decoder = nn.Sequential(nn.Linear(3, 64), nn.Unflatten(1, (1, 8, 8)))
    return VAE(1, 8, encoder=Place(), decoder=decoder, latent_shape=(3,))


def test_a_model_that_reads_places_off_the_image():
    model = place_model().train()
    measured = measure_disentanglement(model, *PARTS, booster="random_forest")
    assert model.training
    assert (measured.images, measured.factor_names) == (48, ("shape", "x", "y"))
    information = np.array(measured.mig.information)
    assert information[0].argmax() == 1
    assert information[2].argmax() == 2
    codes, logvars = codes_of(model, *PARTS)
    factors, _ = factors_of(*PARTS)
    assert torch.equal(factors, torch.cat([GRID.factors[3:], GRID.factors[:3]]))
    assert torch.equal(codes, model.encoder(GRID.render(factors))[:, :3])
    assert measured.mig == mutual_information_gap(codes, factors)
    assert measured.mig_posterior == mutual_information_gap_posterior(codes, logvars, factors)
    assert json.loads(json.dumps(measured.as_dict()))["dci"]["booster"] == "random_forest"
    assert "MIG, sampled codes" in measured.rows()


def test_an_autoencoder_has_no_posterior():
    model = Autoencoder(1, 8, latent_dim=2, body="mlp", hidden=(8,))
    measured = measure_disentanglement(model, PARTS[0], booster="random_forest")
    assert measured.mig_posterior is None
    assert "MIG, sampled codes" not in measured.rows()
    assert len(measured.mig.information) == 2


def test_what_cannot_be_measured():
    images = digits()
    with pytest.raises(ValueError, match=r"data: expected images whose factors are known.*none"):
        measure_disentanglement(place_model(), images.train, images.held_out)
    other = dataclasses.replace(images, train=Sprites(("x",), image_size=8)).train
    with pytest.raises(ValueError, match=r"data: expected the same factors.*\('x',\)"):
        factors_of(PARTS[0], other)
    model = VQVAE(1, 8, channels=4, codebook_size=4, codebook_dim=2)
    with pytest.raises(TypeError, match=r"model: expected one with a continuous latent, got VQVAE"):
        measure_disentanglement(model, *PARTS)


def test_of_large_sets_some_images_are_encoded(monkeypatch):
    monkeypatch.setattr("aevae_fast.training.disentanglement.measure._ROWS", 40)
    model, encoded = place_model(), []
    model.encoder.register_forward_hook(lambda module, images, out: encoded.append(len(out)))
    measured = measure_disentanglement(model, *PARTS, booster="random_forest")
    assert measured.images == sum(encoded) == 40
    assert measured == measure_disentanglement(model, *PARTS, booster="random_forest")
    assert np.array(measured.mig.information)[0].argmax() == 1  # factors stay with their images


@pytest.mark.parametrize("codes", [1, 3, 41])
def test_the_picture_orders_codes_by_what_they_tell(codes):
    generator = np.random.default_rng(0)
    v = generator.integers(0, 4, (400, 2))
    z = generator.normal(size=(400, codes))
    z[:, -1] = v[:, 0]
    figure = draw_information(mutual_information_gap(z, v), ("first", "second"))
    axes = figure.axes[0]
    assert axes.get_yticklabels()[0].get_text() == f"z{codes - 1}"
    assert [label.get_text().split("\n")[0] for label in axes.get_xticklabels()] == ["first", "second"]
    shown = np.asarray(axes.images[0].get_array())
    assert shown.shape == (codes, 2)
    assert shown[0, 0] == pytest.approx(1)
    assert len(axes.texts) == (2 * codes if codes <= 40 else 0)
