"""The study: everything is there, stops and goes on, and the page says what the numbers say."""

import copy
import dataclasses
import json

import pytest
import torch
from PIL import Image

from aevae_fast.cli.app import run as command
from aevae_fast.training.disentanglement import (
    StudyInterrupted,
    StudySettings,
    load_study_settings,
    study,
    study_run,
)
from aevae_fast.training.disentanglement.contenders import contenders, study_images
from aevae_fast.training.disentanglement.findings import findings, summary
from aevae_fast.training.disentanglement.study_page import write_page

TINY = StudySettings(
    betas=(4.0,), tc_betas=(6.0,), seeds=2, places=4, image_size=8, hidden=(8,), latent_dim=2, steps=6, batch_size=16,
    warmup=2, device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "run"
    return study(TINY, out)


def changed(metrics, key, measure, values):
    """The metrics with a measure of one model changed, seed by seed."""
    metrics = copy.deepcopy(metrics)
    for found, value in zip(metrics["models"][key]["runs"], values, strict=True):
        found[measure] = value
    return metrics


def test_everything_is_there(done):
    assert sorted(path.name for path in done.out.iterdir()) == [
        "disentanglement_study.md", "disentanglement_study.png", "metrics.json", "runs", "settings.json",
    ]  # fmt: skip
    assert json.loads((done.out / "metrics.json").read_text()) == json.loads(json.dumps(done.metrics))
    assert load_study_settings(done.out) == TINY
    with Image.open(done.out / "disentanglement_study.png") as picture:
        assert picture.width > 800
    assert list(done.metrics["models"]) == ["vae", "beta-vae-4", "beta-tcvae-6"]
    assert all([found["seed"] for found in model["runs"]] == [0, 1] for model in done.metrics["models"].values())
    assert done.metrics["factors"] == {"scale": 3, "x": 4, "y": 2}


def test_contenders_differ_in_the_weight_alone():
    images = study_images(TINY)
    built = {one.key: one.build(TINY, images, 1) for one in contenders(TINY)}
    first = built["vae"].encoder.state_dict()
    for model in built.values():
        state = model.encoder.state_dict()
        assert all((state[name] == first[name]).all() for name in first)
    weights = []
    for model in built.values():
        model.set_step(TINY.warmup)
        weights.append(float(model.objective.beta(model.step) if model.objective else model.weights()[0]))
    assert weights == [1, 4, 6]
    assert built["beta-tcvae-6"].objective.dataset_size == len(images.train)


def test_the_page_judges_seed_by_seed(done):
    low, high = [0.1, 0.1], [0.4, 0.5]
    metrics = changed(changed(done.metrics, "vae", "mig", low), "beta-tcvae-6", "mig", high)
    (rule,) = (one for one in findings(metrics) if one.rule.startswith("MIG of the β-TCVAE"))
    assert rule.holds
    assert rule.values == "0.40 and 0.10 / 0.50 and 0.10"
    page = write_page(metrics, "picture.png")
    assert "MIG of every β-TCVAE is above the VAE's on every seed." in page
    assert "(picture.png)" in page
    _, best, near = summary(metrics)
    assert "β = 6: 0.45 beside the VAE's 0.10, above it on 2 of 2 seeds" in best
    assert "nearest to that β-TCVAE, β = 6 in reconstruction" in near
    metrics = changed(metrics, "beta-tcvae-6", "mig", [0.4, 0.1])
    (rule,) = (one for one in findings(metrics) if one.rule.startswith("MIG of the β-TCVAE"))
    assert not rule.holds
    page = write_page(metrics, "picture.png")
    assert "MIG of the β-TCVAE is not above the VAE's everywhere:" in page
    assert "\n- β-TCVAE, β = 6, seed 1: MIG 0.10, not above 0.10; gap and linear R² of scale" in page


def test_the_page_says_what_became_of_each_factor(done):
    """By gap and linear R²; of a rotation it speaks only where a factor is mixed."""
    metrics = changed(changed(done.metrics, "vae", "mig", [0.1, 0.1]), "beta-tcvae-6", "mig", [0.4, 0.05])
    metrics = changed(metrics, "beta-tcvae-6", "gaps", [[0.0] * 3, [0.05, 0.4, 0.02]])
    mixed = changed(metrics, "beta-tcvae-6", "linear", [[0.9] * 3, [0.3, 0.9, 0.8]])
    page = write_page(mixed, "picture.png")
    assert "in use; told little, or not plainly: scale; told by one latent above the others: x; mixed: y\n" in page
    assert "as after a rotation" in page
    assert "is a conjecture" in page
    page = write_page(changed(mixed, "beta-tcvae-6", "linear", [[0.9] * 3, [0.3, 0.9, 0.5]]), "picture.png")
    assert "told little, or not plainly: scale, y; told by one latent above the others: x\n" in page
    assert "rotation" not in page


def test_the_page_says_where_beta_begins(done):
    page = write_page(done.metrics, "picture.png")
    assert "trained alike: 6 steps" in page
    assert "Over the first 2 steps β rises from 1, the VAE's." in page
    images = study_images(TINY)
    for one in contenders(TINY):
        model = one.build(TINY, images, 0)
        beta = model.objective.beta(model.step) if model.objective else model.weights()[0]
        assert float(beta) == 1
    still = {**done.metrics, "settings": {**done.metrics["settings"], "warmup": 0}}
    assert "β is the same from the first step on." in write_page(still, "picture.png")


def test_a_rotation_is_read_off_linearly():
    v = torch.cartesian_prod(torch.arange(4), torch.arange(5))
    angle = torch.tensor(0.6)
    turn = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
    assert study_run.linear_readout(v.float() @ turn, v) == pytest.approx([1, 1])
    assert study_run.linear_readout(torch.zeros(20, 2), v) == pytest.approx([0, 0])


@pytest.fixture
def quick(monkeypatch):
    """A study that measures little: sums over the weights, which any other training would change."""

    def weighed(model, images, booster):
        total = float(sum(parameter.detach().abs().double().sum() for parameter in model.parameters()))
        measures = ("reconstruction_loss", "kl", "elbo", "mig", "mig_posterior", "beta_vae", "disentanglement")
        rest = dict.fromkeys((*measures, "completeness", "informativeness"), total)
        return {"active": 2, "gaps": [total] * 3, "linear": [total] * 3} | rest

    monkeypatch.setattr(study_run, "measure", weighed)


def test_stopped_and_resumed(quick, tmp_path, monkeypatch):
    """Models measured before the stop are kept, and the numbers are those of a straight run."""
    straight = study(TINY, tmp_path / "straight")
    real, count = study_run.fit, []

    def stops(*arguments, **options):
        count.append(1)
        result = real(*arguments, **options)
        return dataclasses.replace(result, step=1, interrupted_by=2) if len(count) == 3 else result

    monkeypatch.setattr(study_run, "fit", stops)
    with pytest.raises(StudyInterrupted):
        study(TINY, tmp_path / "run")
    again = study(TINY, tmp_path / "run", resume=True)
    assert len(count) == 3 + 4
    for key, model in again.metrics["models"].items():
        for found, before in zip(model["runs"], straight.metrics["models"][key]["runs"], strict=True):
            assert found | {"seconds": 0} == before | {"seconds": 0}
    with pytest.raises(ValueError, match="settings: expected those that the study was begun with"):
        study(dataclasses.replace(TINY, steps=7), tmp_path / "run", resume=True)


def test_what_is_in_the_way_is_kept_unless_told(done, tmp_path):
    with pytest.raises(ValueError, match="already holds a study"):
        study(TINY, done.out)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds others"):
        study(TINY, tmp_path, overwrite=True)
    for change, message in (
        ({"booster": "lightning"}, "booster: "),
        ({"steps": 0}, "steps: "),
        ({"batch_size": 500}, "batch_size: "),
        ({"device": "abacus"}, "device: "),
    ):
        with pytest.raises(ValueError, match=message):
            study(dataclasses.replace(TINY, **change), done.out, overwrite=True)
    assert (done.out / "metrics.json").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"betas": (1.0,)}, r"betas: .*above 1"),
        ({"tc_betas": ()}, r"tc_betas: .*at least one"),
        ({"seeds": 0}, r"seeds: .*got 0"),
        ({"places": 33}, r"places: .*got 33"),
        ({"scales": 1}, r"scales: .*got 1"),
        ({"warmup": -1}, r"warmup: .*got -1"),
    ],
)
def test_settings_out_of_range(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **change)


def test_from_the_command_line(quick, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    few = ["--seeds", "1", "--steps", "1", "--beta", "2", "--tc-beta", "2", "--device", "cpu"]
    assert command(["study", "disentanglement", *few]) == 0
    assert "VAE, seed 0: MIG" in capsys.readouterr().out
    folder = tmp_path / "runs" / "study-disentanglement"
    assert (folder / "disentanglement_study.md").is_file()
    assert load_study_settings(folder).betas == (2.0,)
    assert command(["study", "disentanglement", *few]) == 2
    assert "already holds a study" in capsys.readouterr().err
    assert command(["study", "disentanglement", "--resume", str(folder)]) == 0
    assert command(["study", "disentanglement", "--resume", str(folder), "--seeds", "2"]) == 2
