"""The commands around autoencoders and VAEs: what a newcomer types, and what comes of mistakes."""

import json
import math
import shutil

import pytest
import torch
from PIL import Image

from aevae_fast.cli.app import run
from aevae_fast.models import Autoencoder, load_model, save_model

TINY = ["--data", "digits", "--steps", "4", "--batch-size", "32", "--channels", "8", "--latent-dim", "3"]
CPU = ["--device", "cpu"]


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "vae"
    assert run(["train", "vae", *TINY, *CPU, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def vqvae(tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "vqvae"
    small = ["--data", "digits", "--steps", "2", "--channels", "4", "--codebook-size", "4", "--codebook-dim", "2"]
    assert run(["train", "vqvae", *small, *CPU, "--out", str(out)]) == 0
    return out


def test_a_noisy_autoencoder_says_what_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["train", "ae", *TINY, *CPU, "--noise", "0.05", "--body", "mlp"]) == 0
    shown = capsys.readouterr().out
    assert "Noisy autoencoder with a latent of 3, noise 0.05 on digits" in " ".join(shown.split())
    assert "-log p(x | z) (nats)" in shown
    metrics = json.loads((tmp_path / "runs" / "ae-digits" / "metrics.json").read_text())
    assert (metrics["model"], metrics["settings"]["noise"], metrics["settings"]["body"]) == ("Autoencoder", 0.05, "mlp")


def test_beta_vae_is_a_vae_with_another_default(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["train", "beta-vae", *TINY, *CPU, "--warmup", "3", "--likelihood", "gaussian"]) == 0
    shown = capsys.readouterr().out
    assert "β-VAE with a latent of 3, β = 4" in " ".join(shown.split())
    assert all(words in shown for words in ("KL (nats)", "ELBO (nats)", "bits / dim"))
    out = tmp_path / "runs" / "beta-vae-digits"
    config = json.loads((out / "model" / "config.json").read_text())
    assert config["config"]["beta"] == {"name": "linear", "start": 0.0, "end": 4.0, "steps": 3}
    assert run(["train", "vae", "--resume", str(out), "--steps", "6"]) == 0
    assert json.loads((out / "metrics.json").read_text())["settings"]["beta"] == 4.0


def test_evaluate_estimates_the_likelihood_of_a_vae(vae, capsys):
    assert run(["evaluate", str(vae), "--samples", "3"]) == 0
    shown = capsys.readouterr().out
    assert "on digits" in shown  # what the run was trained on, unasked
    assert all(words in shown for words in ("ELBO (nats)", "log p(x), 3 samples (nats)", "in bits / dim"))
    assert run(["evaluate", str(vae / "model"), "--samples", "0"]) == 0
    assert "samples" not in capsys.readouterr().out


def test_generate_and_interpolate_write_pictures(vae, tmp_path, capsys):
    samples, again, other, ways = (tmp_path / f"{name}.png" for name in ("samples", "again", "other", "ways"))
    for file, seed in ((samples, "1"), (again, "1"), (other, "2")):
        assert run(["generate", str(vae), "-n", "6", "--seed", seed, "--out", str(file)]) == 0
    assert samples.read_bytes() == again.read_bytes() != other.read_bytes()
    command = ["interpolate", str(vae / "model"), "--mode", "slerp", "--pairs", "2", "--steps", "5"]
    assert run([*command, "--out", str(ways)]) == 0
    with Image.open(ways) as picture:
        assert picture.width > picture.height
    assert f"Look at {ways}" in capsys.readouterr().out


def test_a_vqvae_cannot_interpolate_and_it_says_why(vqvae, tmp_path, capsys):
    assert run(["interpolate", str(vqvae), "--out", str(tmp_path / "picture.png")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("aevae-fast: interpolate: expected an autoencoder or a VAE, got a VQVAE")
    assert "nothing between two of its codes" in error
    assert not (tmp_path / "picture.png").exists()


def test_a_run_of_another_model_is_not_gone_on_with(vqvae, capsys):
    assert run(["train", "vae", "--resume", str(vqvae)]) == 2
    assert f"aevae-fast train vqvae --resume {vqvae}" in capsys.readouterr().err


def test_a_run_that_was_not_finished_is_named(vae, tmp_path, capsys):
    shutil.copytree(vae, tmp_path / "run", ignore=shutil.ignore_patterns("model"))
    assert run(["generate", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert f"this run was not finished; go on with: aevae-fast train vae --resume {tmp_path / 'run'}" in error


def test_an_autoencoder_without_training_is_named(tmp_path, capsys):
    save_model(Autoencoder(1, 8, channels=4), tmp_path)
    assert run(["generate", str(tmp_path)]) == 2
    assert "expected a trained model, but the range of the training latents is not known" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["generate", "interpolate", "reconstruct", "evaluate"])
def test_weights_that_are_nan_draw_nothing(vae, command, tmp_path, capsys):
    run_folder, picture = tmp_path / "run", tmp_path / "picture.png"
    shutil.copytree(vae, run_folder)
    model = load_model(run_folder / "model")
    next(model.decoder.parameters()).data.fill_(math.nan)
    save_model(model, run_folder / "model")
    assert run([command, str(run_folder), "--out", str(picture)]) == 1
    error = capsys.readouterr().err
    assert "nan" in error.lower()
    assert error.count("\n") == 1
    assert not picture.exists()


@pytest.mark.parametrize("command", ["generate", "interpolate", "reconstruct", "evaluate"])
def test_weights_that_are_cut_off_are_named(vae, command, tmp_path, capsys):
    shutil.copytree(vae, tmp_path / "run")
    weights = tmp_path / "run" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert run([command, str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"aevae-fast: {weights}: expected weights in the safetensors format, got a broken file")
    assert error.count("\n") == 1


def test_too_little_memory_is_called_so_and_other_errors_are_not_hidden(vae, tmp_path, monkeypatch, capsys):
    command = ["generate", str(vae), "--out", str(tmp_path / "picture.png")]
    monkeypatch.setattr("aevae_fast.models.VAE.sample", lambda model, n, generator: torch.empty(1 << 50))
    assert run(command) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"aevae-fast: out of memory (tried to allocate {4 << 50} bytes); fewer images")
    assert error.count("\n") == 1
    monkeypatch.setattr("aevae_fast.models.VAE.sample", lambda model, n, generator: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        run(command)


def test_the_picture_that_is_named_is_there(vae, tmp_path, capsys):
    for command in ("generate", "interpolate", "reconstruct"):
        assert run([command, str(vae), "--out", str(tmp_path / command)]) == 0
        assert f"Look at {tmp_path / command}.png\n" in capsys.readouterr().out
        assert (tmp_path / f"{command}.png").is_file()
        assert run([command, str(vae), "--out", str(tmp_path)]) == 2
        assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize("likelihood", ["gaussian", "discretized_logistic"])
def test_other_likelihoods_train_and_draw(likelihood, tmp_path, capsys):
    out = tmp_path / "run"
    assert run(["train", "vae", *TINY, *CPU, "--body", "mlp", "--likelihood", likelihood, "--out", str(out)]) == 0
    assert json.loads((out / "metrics.json").read_text())["settings"]["likelihood"] == likelihood
    for command in (["generate"], ["interpolate", "--mode", "slerp"]):
        assert run([*command, str(out), "--out", str(tmp_path / "picture.png")]) == 0


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        (["train", "vae"], "--warmup", "99999999999999999999"),
        (["train", "vae"], "--latent-dim", "100000000000"),
        (["train", "vae"], "--channels", "100000000000"),
        (["train", "vae"], "--downsampling-factor", "1180591620717411303424"),
        (["train", "vae"], "--image-size", "100000000000"),
        (["train", "vae"], "--workers", "100000000000"),
        (["train", "vae"], "--steps", "99999999999999999999"),
        (["train", "vae"], "--seed", "99999999999999999999"),
        (["train", "vqvae"], "--codebook-size", "100000000000"),
        (["train", "vqvae"], "--codebook-dim", "100000000000"),
        (["train", "beta-tcvae"], "--warmup", "99999999999999999999"),
        (["compare"], "--steps", "99999999999999999999"),
        (["compare"], "--latent-dim", "100000000000"),
        (["compare"], "--channels", "100000000000"),
        (["generate", "x"], "--seed", "99999999999999999999"),
        (["generate", "x"], "--seed", "-1"),
        (["generate", "x"], "-n", "2000000000"),
        (["interpolate", "x"], "--pairs", "2000000000"),
        (["interpolate", "x"], "--steps", "2000000000"),
        (["reconstruct", "x"], "--count", "2000000000"),
        (["evaluate", "x"], "--samples", "2000000000"),
    ],
)
def test_what_no_machine_can_do_names_the_option(command, option, value, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    assert run([*command, option, value]) == 2
    assert f"Invalid value for '{option}'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["train", "vae", "--beta", "-1"], "beta: ", id="beta"),
        pytest.param(["train", "vae", "--capacity", "-1"], "capacity: ", id="capacity"),
        pytest.param(["train", "vae", "--warmup", "-1"], "warmup: expected 0 steps or more", id="warmup"),
        pytest.param(["train", "ae", "--noise", "-1"], "noise: ", id="noise"),
        pytest.param(["train", "ae", "--latent-dim", "0"], "latent_dim: ", id="latent"),
        pytest.param(["train", "vae", "--likelihood", "guess"], "likelihood must be one of", id="likelihood"),
        pytest.param(["train", "vae", "--body", "brain"], "body: expected one of convolutional, mlp", id="body"),
        pytest.param(["train", "vae", "--downsampling-factor", "16"], "got 8x8", id="image-size"),
        pytest.param(["train", "ae", "--data", "nothing"], "data: expected mnist, digits, photos", id="data"),
        pytest.param(["compare", "--beta", "1"], "beta: expected more than 1", id="twin"),
        pytest.param(["compare", "--data", "photos"], "expected images with labels", id="no-labels"),
        pytest.param(["compare", "--latent-dim", "0"], "latent_dim: ", id="compare-latent"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run([*arguments, *(["--data", "digits"] if "--data" not in arguments else [])]) == 2
    error = capsys.readouterr().err
    assert error.startswith("aevae-fast: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["generate", "nowhere"], "nowhere: expected a saved model", id="generate"),
        pytest.param(["interpolate", "nowhere"], "nowhere: expected a saved model", id="interpolate"),
        pytest.param(["compare", "--resume", "nowhere"], "nowhere/settings.json is not there", id="compare"),
        pytest.param(["train", "ae", "--resume", "nowhere"], "nowhere/settings.json is not there", id="train"),
    ],
)
def test_no_such_run_is_named(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["interpolate", "--mode", "round"], "mode: expected one of linear, slerp, got 'round'", id="mode"),
        pytest.param(["interpolate", "--steps", "1"], "--steps", id="steps"),
        pytest.param(["generate", "-n", "0"], "-n", id="count"),
        pytest.param(["generate", "--temperature", "0.5"], "temperature: expected a VQ-VAE", id="temperature"),
        pytest.param(["interpolate", "--data", "mnist"], "expected images of image_size 8x8, got 28x28", id="size"),
    ],
)
def test_a_wrong_option_is_named(vae, arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run([arguments[0], str(vae), *arguments[1:]]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["train", "vae", "--resume", "x", "--beta", "2"], "leave out --beta", id="train"),
        pytest.param(["train", "vae", "--resume", "x", "--lr", "2"], "leave out --lr", id="shared"),
        pytest.param(["compare", "--resume", "x", "--steps", "2"], "leave out --steps", id="compare"),
    ],
)
def test_resume_keeps_the_settings(arguments, message, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    assert run(arguments) == 2
    assert message in capsys.readouterr().err


def test_compare_shows_tables_verdicts_and_where_to_look(tmp_path, capsys):
    out = tmp_path / "compare"
    assert run(["compare", *TINY, *CPU, "--body", "mlp", "--out", str(out)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert all(f"{number} of 4: " in shown for number in range(1, 5))
    assert "real images" in shown
    for claim in json.loads((out / "metrics.json").read_text())["claims"]:
        assert f"({claim['letter']}) {claim['statement']} {claim['verdict'].capitalize()}." in shown
    assert {"compare.md", "compare.png"} < {file.name for file in out.iterdir()}
