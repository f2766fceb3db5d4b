"""`train codec` and `train tokenizer`: to numbers, pictures and sounds; and what comes of mistakes."""

import json

import pytest

from aevae_fast.cli.app import run

CODEC = ["train", "codec", "--stages", "2", "--codebook-size", "8", "--latent-dim", "4", "--channels", "2"]
TOKENIZER = ["train", "tokenizer", "--codebook-dim", "4", "--channels", "4", "--data", "digits", "--image-size", "8"]
TOKENIZER += ["--downsampling-factor", "2", "--stages", "2", "--codebook-size", "16"]
FINITE = ["--quantizer", "fsq"]
CPU = ["--device", "cpu"]


def only_error(capsys):
    shown = capsys.readouterr()
    assert shown.err.count("\n") == 1
    return shown.err


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "codec"
    assert run([*CODEC, *CPU, "--steps", "2", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "tokenizer"
    assert run([*TOKENIZER, *CPU, "--steps", "2", "--out", str(out)]) == 0
    return out


def test_its_defaults_are_those_of_the_settings(codec):
    settings = json.loads((codec / "settings.json").read_text())
    named = {name: settings[name] for name in ("family", "data", "batch_size", "learning_rate", "schedule")}
    assert named == {
        "family": "codec", "data": "sounds", "batch_size": 8, "learning_rate": 4e-3, "schedule": "cosine",
    }  # fmt: skip


def test_a_codec_is_evaluated(codec, capsys):
    assert run(["evaluate", str(codec)]) == 0
    assert "signal to noise, 2 stages (dB)" in capsys.readouterr().out


def test_a_codec_goes_on_and_says_what_it_learns_from_and_what_a_second_takes(codec, capsys):
    assert run(["train", "codec", "--resume", str(codec), "--steps", "3"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    words = " ".join(shown.out.split())
    assert "Audio codec with 2 stages of 8 codes on sounds: 1024 training and 32 held-out clips at 16000 Hz" in words
    assert "1024 clips" in words
    assert "A second takes 0.375 kbit with 1 stage, 0.75 kbit with 2 stages" in words
    assert (codec / "sounds" / "1_stages_2.wav").is_file()
    assert json.loads((codec / "metrics.json").read_text())["steps"] == 3


@pytest.mark.parametrize("command", ["reconstruct", "generate", "interpolate"])
def test_a_codec_is_no_model_of_images(codec, command, capsys):
    assert run([command, str(codec)]) == 2
    assert "expected a model of images, got an audio codec" in only_error(capsys)


def test_a_tokenizer_is_a_vqvae_with_other_defaults(tokenizer, tmp_path, capsys):
    settings = json.loads((tokenizer / "settings.json").read_text())
    assert (settings["family"], settings["quantizer"], settings["schedule"]) == ("vqvae", "residual", "cosine")
    assert run(["evaluate", str(tokenizer)]) == 0
    assert "codebook perplexity, mean of the" in capsys.readouterr().out
    assert run(["reconstruct", str(tokenizer), "--count", "3", "--out", str(tmp_path / "picture.png")]) == 0


def test_a_tokenizer_without_a_codebook(tmp_path, capsys):
    out = tmp_path / "run"
    arguments = [*TOKENIZER[:8], "--image-size", "8", "--downsampling-factor", "2", *FINITE]
    assert run([*arguments, *CPU, "--steps", "1", "--out", str(out)]) == 0
    assert "Tokenizer (fsq) with 1 x 256 codes on digits" in " ".join(capsys.readouterr().out.split())
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["held_out"]["dead_codes"] < 240  # of 8 x 6 x 5


@pytest.mark.parametrize("command", [["generate"], ["train", "code-prior"]], ids=["generate", "code-prior"])
def test_there_is_no_prior_over_several_codes_a_position(tokenizer, command, capsys):
    assert run([*command, str(tokenizer)]) == 2
    assert "expected one code a position for a prior over them, got 2 stages" in only_error(capsys)
    assert not (tokenizer / "code-prior").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["train", "tokenizer", "--quantizer", "tree"], "quantizer: expected one of vq", id="quantizer"),
        pytest.param(
            ["train", "tokenizer", *FINITE, "--stages", "4"], "stages: expected 1 for fsq, got 4", id="stages"
        ),
        pytest.param(["train", "codec", "--spectral-weight", "-1"], "spectral_weight: expected", id="weight"),
        pytest.param(["train", "codec", "--schedule", "step"], "schedule: expected one of constant", id="schedule"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(arguments, message, tmp_path, capsys):
    assert run([*arguments, "--out", str(tmp_path / "new")]) == 2
    assert message in only_error(capsys)
    assert not (tmp_path / "new").exists()
