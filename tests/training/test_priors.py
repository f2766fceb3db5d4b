"""VAEs with other priors and posteriors in training: what is built, measured and drawn."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from matplotlib import pyplot

from aevae_fast.data import ImageSplits
from aevae_fast.latents.priors import MixturePrior, VampPrior
from aevae_fast.training import evaluate
from aevae_fast.training.families import family_of
from aevae_fast.training.runs import build_model

from .conftest import SMALL_VAE

PICTURES = ["reconstructions", "samples", "interpolations", "traversals"]


def built(images: ImageSplits, **change: Any) -> Any:
    torch.manual_seed(0)
    return build_model(dataclasses.replace(SMALL_VAE, body="mlp", **change), images)


@pytest.mark.parametrize(
    "change",
    [
        {"prior": "gaussian"},
        {"prior": "mixture"},
        {"prior": "vamp"},
        {"prior": "planar"},
        {"latent": "full_covariance"},
        {"latent": "beta"},
        {"latent": "dirichlet"},
    ],
    ids=lambda change: "-".join(change.values()),
)
def test_it_is_measured_and_drawn(images: ImageSplits, change: dict[str, str]) -> None:
    model = built(images, **change)
    measured: Any = evaluate(model, images.held_out, batch_size=90)
    again: Any = evaluate(model, images.held_out, batch_size=90)
    assert measured.as_dict() == again.as_dict()
    assert measured.elbo == pytest.approx(-(measured.reconstruction_loss + measured.kl))
    many = model.elbo_terms(images.held_out.images, samples=20)[1]  # type: ignore[attr-defined]
    # one sample an image, 180 of them: the estimate's error by its own spread over images, and more than enough
    assert measured.kl == pytest.approx(float(many.mean()), abs=5 * max(float(many.std()), 1.0) / math.sqrt(180) + 0.1)
    figures = dict(family_of(model).pictures(model, images, None))
    assert list(figures) == PICTURES
    pyplot.close("all")


def test_pseudo_inputs_start_at_training_images(images: ImageSplits) -> None:
    prior = built(images, prior="vamp").prior
    assert isinstance(prior, VampPrior)
    assert prior.components == 500
    known = images.train.images.flatten(1)  # type: ignore[attr-defined]
    assert float(torch.cdist(prior.pseudo_inputs.flatten(1), known).detach().min(1).values.max()) < 1e-3


def test_a_traversal_says_what_it_counts(images: ImageSplits) -> None:
    held_out = images.held_out.images[:20]  # type: ignore[attr-defined]
    model = built(images, prior="gaussian")
    told, what = family_of(model).told(model, held_out)  # type: ignore[attr-defined]
    torch.testing.assert_close(told, model.elementwise_kl(held_out).mean(0))
    assert "nats" in what
    model = built(images, prior="mixture")
    told, what = family_of(model).told(model, held_out)  # type: ignore[attr-defined]
    torch.testing.assert_close(told, model.encode(held_out).std(0, correction=0))
    assert "standard deviation" in what


def test_settings_name_the_parts(images: ImageSplits) -> None:
    model = built(images, prior="mixture", latent="full_covariance")
    assert isinstance(model.prior, MixturePrior)
    assert model.latent.name == "full_covariance"
    settings = dataclasses.replace(SMALL_VAE, beta=1.0, prior="mixture", latent="full_covariance")
    words = "VAE with a latent of 3, mixture prior, full_covariance posterior"
    assert family_of(model).describe(settings) == words
    with pytest.raises(ValueError, match=r"prior must be one of 'standard'.*'nothing'"):
        built(images, prior="nothing")
