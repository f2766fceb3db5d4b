"""A comparison from beginning to end, on a tiny setting."""

import dataclasses
import json
import signal

import pytest
from lightning.pytorch import Callback
from PIL import Image

from aevae_fast.models import VAE, load_model
from aevae_fast.training import AutoencoderSettings, VAESettings
from aevae_fast.training.compare import CompareSettings, ComparisonInterrupted, compare, judge, load_compare_settings
from aevae_fast.training.compare.contenders import contenders
from aevae_fast.training.families.continuous import ContinuousSettings
from aevae_fast.training.module import TrainingModule

TINY = CompareSettings(
    data="digits", steps=12, batch_size=32, channels=8, latent_dim=3, learning_rate=3e-3, device="cpu"
)
MODELS = ["autoencoder", "beta-vae", "noisy-autoencoder", "vae"]


@pytest.fixture(scope="module")
def compared(tmp_path_factory, images):
    out = tmp_path_factory.mktemp("compare") / "run"
    return compare(TINY, images, out)


def test_everything_is_there(compared):
    out = compared.out
    assert sorted(file.name for file in out.iterdir()) == [
        "compare.md", "compare.png", "metrics.json", "models", "settings.json",
    ]  # fmt: skip
    assert sorted(file.name for file in (out / "models").iterdir()) == MODELS
    assert isinstance(load_model(out / "models" / "beta-vae" / "model"), VAE)
    with Image.open(out / "compare.png") as picture:
        assert min(picture.size) > 1000
    assert json.loads((out / "metrics.json").read_text()) == compared.metrics
    assert load_compare_settings(out) == TINY


def test_the_page_says_what_the_numbers_say(compared):
    page = (compared.out / "compare.md").read_text()
    assert [claim.letter for claim in compared.claims] == list("abcd")
    for claim, again in zip(compared.claims, judge(compared.metrics), strict=True):
        assert claim == again
        count = f"{sum(check.holds for check in claim.checks)} of {len(claim.checks)} rules hold"
        assert f"| ({claim.letter}) | {claim.statement} | **{claim.verdict}**, {count} |" in page
        for check in claim.checks:
            assert f"{'**holds**' if check.holds else '**does not hold**'}: {check.rule} *{check.values}.*" in page
    assert "(compare.png)" in page
    assert all(model["title"] in page for model in compared.metrics["models"].values())
    assert not any(len(line) > 120 and not line.startswith(("|", "-", "#")) for line in page.splitlines()[20:])


def test_the_models_differ_only_in_what_is_claimed():
    made = contenders(TINY)
    expected = [AutoencoderSettings(), AutoencoderSettings(noise=0.05), VAESettings(), VAESettings(beta=4.0)]
    names = [field.name for field in dataclasses.fields(ContinuousSettings)]
    shared = {name: getattr(TINY, name) for name in names}
    assert [one.settings for one in made] == [dataclasses.replace(settings, **shared) for settings in expected]


class StopIn(Callback):
    """Sends this process a signal in the first step of the second model."""

    begun = 0

    def on_train_start(self, trainer, pl_module):
        StopIn.begun += 1
        if StopIn.begun == 2:
            signal.raise_signal(signal.SIGINT)


def test_stopped_and_resumed_equals_straight(compared, images, tmp_path, monkeypatch):
    monkeypatch.setattr(TrainingModule, "configure_callbacks", lambda self: [StopIn()])
    with pytest.raises(ComparisonInterrupted) as stopped:
        compare(TINY, images, tmp_path / "run")
    assert (stopped.value.contender.key, stopped.value.result.step) == ("noisy-autoencoder", 1)
    monkeypatch.undo()
    first = (tmp_path / "run" / "models" / "autoencoder" / "metrics.json").stat().st_mtime_ns
    again = compare(TINY, images, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "models" / "autoencoder" / "metrics.json").stat().st_mtime_ns == first
    for key, model in again.metrics["models"].items():
        assert model | {"seconds": 0} == compared.metrics["models"][key] | {"seconds": 0}
    assert again.claims == compared.claims


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"downsampling_factor": 16}, "downsampling_factor=16, got 8x8"),
        ({"batch_size": 5000}, "batch_size: .*got 5000"),
        ({"device": "abacus"}, "device: .*'abacus'"),
        ({"latent_dim": 0}, "latent_dim: .*got 0"),
    ],
)
def test_a_mistake_beside_overwrite_costs_nothing(compared, images, change, message):
    before = {file: file.read_bytes() for file in compared.out.rglob("*") if file.is_file()}
    with pytest.raises(ValueError, match=message):
        compare(dataclasses.replace(TINY, **change), images, compared.out, overwrite=True)
    assert {file: file.read_bytes() for file in compared.out.rglob("*") if file.is_file()} == before


def test_what_is_in_the_way_is_kept_unless_told(compared, images, run, tmp_path):
    with pytest.raises(ValueError, match=r"already holds a comparison; go on with --resume .*--overwrite"):
        compare(TINY, images, compared.out)
    for folder in (run[0], tmp_path):
        (tmp_path / "diary.txt").write_text("dear diary")
        with pytest.raises(ValueError, match=r"expected a new or empty folder, or one that holds a comparison"):
            compare(TINY, images, folder, overwrite=True)
    with pytest.raises(ValueError, match=r"expected a comparison, got a run of 'vqvae'"):
        load_compare_settings(run[0])


def test_resume_takes_the_settings_that_it_was_begun_with(compared, images, tmp_path):
    before = {file: file.read_bytes() for file in compared.out.rglob("*") if file.is_file()}
    other = dataclasses.replace(TINY, seed=1, beta=2.0)
    with pytest.raises(ValueError, match=r"resume: .*begun with seed 0, not 1, beta 4.0, not 2.0$"):
        compare(other, images, compared.out, resume=True)
    assert {file: file.read_bytes() for file in compared.out.rglob("*") if file.is_file()} == before
    with pytest.raises(FileNotFoundError, match=r"settings.json is not there"):
        compare(TINY, images, tmp_path / "nowhere", resume=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"noise": 0.0}, "noise: expected more than 0"), ({"beta": 1.0}, "beta: expected more than 1")],
)
def test_models_that_would_be_twins_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CompareSettings(**options)
