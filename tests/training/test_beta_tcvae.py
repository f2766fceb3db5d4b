"""β-TCVAE in training: what is built of its settings, that it learns, what is refused."""

import dataclasses

import pytest

from aevae_fast.models import VAE, load_model
from aevae_fast.training import BetaTCVAESettings, load_settings, train_run
from aevae_fast.training.families import family_of
from aevae_fast.training.runs import build_model

from .conftest import TINY

SETTINGS = BetaTCVAESettings(**TINY, beta=3.0, sampling="stratified", warmup=10)


def test_the_objective_follows_the_settings_and_the_data(images):
    objective = build_model(SETTINGS, images).objective
    rise = {"name": "linear", "start": 0.0, "end": 3.0, "steps": 10}
    assert objective.options() == {
        "dataset_size": len(images.train),
        "alpha": 1.0,
        "beta": rise,
        "gamma": 1.0,
        "sampling": "stratified",
        "compat": None,
    }
    assert build_model(dataclasses.replace(SETTINGS, warmup=0), images).objective.beta == 3.0


def test_a_run_learns_and_leaves_a_model_that_comes_back(tmp_path, images):
    out = tmp_path / "run"
    settings = dataclasses.replace(SETTINGS, steps=60, warmup=0, learning_rate=5e-3)
    result, report = train_run(settings, images, out)
    assert result.history.train["loss"][-1] < result.history.train["loss"][0]
    assert report.held_out.elbo > -60
    assert load_settings(out) == settings
    model = load_model(out / "model")
    assert isinstance(model, VAE)
    assert model.objective.name == "beta_tcvae"
    assert family_of(model).evaluate(model, images.held_out, 64).elbo == pytest.approx(report.held_out.elbo)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"warmup": -1}, "warmup: expected 0 steps or more, got -1", id="warmup"),
        pytest.param({"gamma": -1.0}, "gamma: expected a finite number, 0 or more, got -1", id="weight"),
        pytest.param({"sampling": "mss"}, "sampling must be one of 'weighted', 'stratified'", id="sampling"),
    ],
)
def test_bad_settings_are_named(images, change, message):
    with pytest.raises(ValueError, match=message):
        build_model(dataclasses.replace(SETTINGS, **change), images)
