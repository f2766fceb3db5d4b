"""From a VQ-VAE to new images: `train code-prior`, then `generate`."""

import json
import shutil

import pytest
from PIL import Image

from aevae_fast.cli.app import run

TINY = ["--data", "digits", "--steps", "10", "--channels", "4", "--codebook-size", "8", "--codebook-dim", "2"]
PRIOR = ["--steps", "6", "--channels", "8", "--layers", "1", "--heads", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def vqvae(tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "vqvae"
    assert run(["train", "vqvae", *TINY, "--device", "cpu", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def with_prior(vqvae, tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "vqvae"
    shutil.copytree(vqvae, out)
    assert run(["train", "code-prior", str(out), *PRIOR]) == 0
    return out


def only_error(capsys):
    error = capsys.readouterr().err
    assert error.startswith("aevae-fast: ")
    assert error.count("\n") == 1
    return error


def test_without_a_prior_generate_says_what_to_do(vqvae, tmp_path, capsys):
    for folder in (vqvae, vqvae / "model"):
        assert run(["generate", str(folder), "--out", str(tmp_path / "picture.png")]) == 2
        assert f"train one with: aevae-fast train code-prior {vqvae}\n" in only_error(capsys)
    assert not (tmp_path / "picture.png").exists()


def test_a_prior_is_trained_and_generate_draws(with_prior, tmp_path, capsys):
    metrics = json.loads((with_prior / "code-prior" / "metrics.json").read_text())
    assert metrics["data"] == metrics["settings"]["data"] == "digits"
    assert metrics["settings"]["layers"] == 1
    assert metrics["held_out"]["bits_per_image"] > 0
    files = [tmp_path / f"{name}.png" for name in ("samples", "again", "other")]
    folders = (with_prior, with_prior / "model", with_prior)
    for file, folder, seed in zip(files, folders, "112", strict=True):
        assert run(["generate", str(folder), "-n", "9", "--seed", seed, "--out", str(file)]) == 0
    with Image.open(files[0]) as picture:
        assert picture.width > 100
    samples, again, other = (file.read_bytes() for file in files)
    assert samples == again != other


def test_a_low_temperature_draws_what_is_likely(with_prior, tmp_path):
    files = [tmp_path / f"{seed}.png" for seed in "12"]
    for file, seed in zip(files, "12", strict=True):
        assert run(["generate", str(with_prior), "--temperature", "1e-4", "--seed", seed, "--out", str(file)]) == 0
    one, other = (file.read_bytes() for file in files)
    assert one == other  # the likeliest codes, whatever the seed


@pytest.mark.parametrize("temperature", ["0", "-1", "nan"])
def test_a_temperature_that_is_none(with_prior, temperature, capsys):
    assert run(["generate", str(with_prior), "--temperature", temperature]) == 2
    assert "temperature: expected a positive number" in only_error(capsys)


def test_it_goes_on(with_prior, capsys):
    folder = with_prior / "code-prior"
    assert run(["train", "code-prior", "--resume", str(folder), "--steps", "9"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Prior over the codes of" in shown
    assert "if codes were independent, 12 at a fixed length" in shown
    assert json.loads((folder / "metrics.json").read_text())["steps"] == 9
    assert run(["train", "code-prior", str(with_prior), *PRIOR]) == 2
    assert "--overwrite" in only_error(capsys)


def test_a_prior_for_an_earlier_state_is_refused(with_prior, tmp_path, capsys):
    shutil.copytree(with_prior, tmp_path / "run")
    assert run(["train", "vqvae", "--resume", str(tmp_path / "run"), "--steps", "12"]) == 0
    capsys.readouterr()
    assert run(["generate", str(tmp_path / "run")]) == 2
    assert f"aevae-fast train code-prior {tmp_path / 'run'} --overwrite" in only_error(capsys)


def test_a_prior_that_is_not_finished_is_named(with_prior, tmp_path, capsys):
    shutil.copytree(with_prior, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "code-prior" / "model")
    assert run(["generate", str(tmp_path / "run")]) == 2
    assert f"aevae-fast train code-prior --resume {tmp_path / 'run' / 'code-prior'}" in only_error(capsys)


@pytest.mark.parametrize("command", ["generate", "evaluate", "reconstruct", "interpolate"])
def test_the_prior_alone_is_no_model_of_images(with_prior, command, capsys):
    assert run([command, str(with_prior / "code-prior")]) == 2
    assert "got a prior over codes; name the VQ-VAE's run" in only_error(capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "run: expected the folder of a trained VQ-VAE", id="no-run"),
        pytest.param(["nowhere"], "nowhere/settings.json is not there", id="nowhere"),
        pytest.param(["RUN", "--heads", "3"], "heads: expected a divisor of channels=128, got 3", id="heads"),
        pytest.param(["RUN", "--dropout", "1"], "dropout: expected a share in [0, 1), got 1.0", id="dropout"),
        pytest.param(["RUN/code-prior"], "holds one of code-prior", id="a-prior"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(with_prior, arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    out = ["--out", str(tmp_path / "new")]
    arguments = [argument.replace("RUN", str(with_prior)) for argument in arguments]
    assert run(["train", "code-prior", *arguments, *out]) == 2
    assert message in only_error(capsys)
    assert not (tmp_path / "new").exists()


def test_help_names_its_options_and_leaves_out_those_of_the_vqvae(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["train", "code-prior", "--help"]) == 0
    shown = capsys.readouterr().out
    assert [one for one in ("RUN", "--layers", "--dropout", "--steps", "--resume", "--lr") if one not in shown] == []
    assert [one for one in ("--data", "--image-size") if one in shown] == []
