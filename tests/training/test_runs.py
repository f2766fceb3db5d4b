"""A run from beginning to end: the folder it leaves."""

import dataclasses
import json

import pytest
import torch
from PIL import Image

from aevae_fast.models import load_model
from aevae_fast.training import evaluate, load_settings, train_run
from aevae_fast.training.runs import prepare_out

PICTURES = (
    "code_maps.png",
    "codebook.png",
    "codebook_usage.png",
    "curves.png",
    "quantizer_health.png",
    "reconstructions.png",
)


def test_pictures_are_there(run):
    out, _, _ = run
    assert sorted(file.name for file in (out / "pictures").iterdir()) == list(PICTURES)
    for name in PICTURES:
        with Image.open(out / "pictures" / name) as picture:
            assert min(picture.size) > 300
            assert len(set(picture.convert("L").tobytes())) > 10


def test_metrics_file_holds_what_was_measured(run, images, settings):
    out, result, report = run
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics == report.metrics
    assert metrics["steps"] == result.step == 24
    assert metrics["settings"] == dataclasses.asdict(settings)
    assert metrics["held_out"]["images"] == 180
    assert metrics["train"]["dead_codes"] == int((report.train.usage.counts == 0).sum())
    assert metrics["bits_per_image"] == 4 * 4
    assert metrics["bits_per_image_at_8_bit"] == 512
    assert metrics["versions"]["torch"] == torch.__version__


def test_the_exported_model_is_the_trained_one(run, images):
    out, _, report = run
    again = evaluate(load_model(out / "model"), images.held_out)
    assert again.as_dict() == report.held_out.as_dict()


def test_settings_come_back(run, settings, tmp_path):
    assert load_settings(run[0]) == settings
    with pytest.raises(FileNotFoundError, match=r"settings.json is not there"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(
            b'{"family": "vqvae", "colour": 1}', "expected the settings of a run of vqvae.*colour", id="other"
        ),
        pytest.param(
            b'{"family": "gan"}',
            r"expected a run of vqvae, vae, ae, beta-tcvae, code-prior, codec, got 'gan'",
            id="unknown-family",
        ),
        pytest.param(
            b'{"colour": 1}',
            r"expected a run of vqvae, vae, ae, beta-tcvae, code-prior, codec, got None",
            id="no-family",
        ),
        pytest.param(b"[1]", r"expected the settings of a run, got \[1\]", id="a-list"),
        pytest.param(b"\xff\xfe\x80", "expected the settings of a run", id="no-text"),
    ],
)
def test_settings_that_are_none_are_named(tmp_path, content, message):
    (tmp_path / "settings.json").write_bytes(content)
    with pytest.raises(ValueError, match=f"settings.json: {message}"):
        load_settings(tmp_path)


def test_a_new_run_does_not_replace_an_old_one_unasked(run, tmp_path):
    out, _, _ = run
    with pytest.raises(ValueError, match=r"already holds a run; continue it with --resume .*--overwrite"):
        prepare_out(out, overwrite=False)
    (tmp_path / "diary.txt").write_text("dear diary")
    with pytest.raises(ValueError, match="holds other files"):
        prepare_out(tmp_path, overwrite=True)
    assert (tmp_path / "diary.txt").exists()
    with pytest.raises(ValueError, match="is a file"):
        prepare_out(tmp_path / "diary.txt", overwrite=True)


def test_a_run_that_saved_nothing_is_not_in_the_way(tmp_path, settings):
    settings.save(tmp_path / "run")
    prepare_out(tmp_path / "run", overwrite=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"downsampling_factor": 16}, "downsampling_factor=16, got 8x8"),
        ({"batch_size": 5000}, "batch_size: .*got 5000"),
        ({"device": "abacus"}, "device: .*'abacus'"),
        ({"precision": "8-bit"}, "precision: .*'8-bit'"),
        ({"steps": 0}, "steps: .*got 0"),
        ({"learning_rate": -1.0}, "learning_rate: .*got -1.0"),
        ({"workers": -1}, "workers: .*got -1"),
    ],
)
@pytest.mark.parametrize("how", ["overwrite", "resume"])
def test_settings_that_do_not_fit_leave_the_old_run_alone(run, images, settings, change, message, how):
    out, _, _ = run
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    with pytest.raises(ValueError, match=message):
        train_run(dataclasses.replace(settings, **change), images, out, **{how: True})
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before
