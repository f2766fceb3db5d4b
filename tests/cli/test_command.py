"""The command: what a newcomer types, and what comes of mistakes."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest

from aevae_fast.cli.app import run

SMALL = ["--data", "digits", "--batch-size", "32", "--codebook-size", "16", "--codebook-dim", "4", "--channels", "8"]
TRAIN = ["train", "vqvae", *SMALL, "--device", "cpu"]
COMMAND = [sys.executable, "-c", "from aevae_fast.cli import main; main()"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "run"
    assert run([*TRAIN, "--steps", "12", "--out", str(out)]) == 0
    return out


def test_training_says_where_to_look(tmp_path, capsys):
    out = tmp_path / "run"
    assert run([*TRAIN, "--epochs", "0.2", "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "16 codes on digits: 1617 training and 180 held-out images of 1x8x8" in " ".join(shown.out.split())
    assert all(words in shown.out for words in (str(out / "pictures"), "dead codes", "held out", "PSNR"))
    assert json.loads((out / "metrics.json").read_text())["steps"] == 10


def test_resume_goes_on(trained, capsys):
    assert run(["train", "vqvae", "--resume", str(trained), "--steps", "20"]) == 0
    metrics = json.loads((trained / "metrics.json").read_text())
    assert metrics["steps"] == metrics["settings"]["steps"] == 20
    assert metrics["settings"]["codebook_size"] == 16


def test_evaluate_and_reconstruct(trained, tmp_path, capsys):
    assert run(["evaluate", str(trained), "--data", "digits"]) == 0
    assert "codebook perplexity" in capsys.readouterr().out
    picture = tmp_path / "picture.png"
    assert run(["reconstruct", str(trained / "model"), "--data", "digits", "--out", str(picture), "--count", "3"]) == 0
    assert picture.stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([*TRAIN, "--data", "nothing"], "data: expected mnist, digits, photos", id="no-such-data"),
        pytest.param([*TRAIN, "--codebook-size", "0"], "codebook_size: expected a positive number", id="no-codes"),
        pytest.param([*TRAIN, "--downsampling-factor", "16"], "got 8x8", id="does-not-divide"),
        pytest.param([*TRAIN, "--batch-size", "99999"], "batch_size: expected 1 to 1617", id="batch-too-large"),
        pytest.param([*TRAIN, "--steps", "5", "--epochs", "1"], "expected one of the two", id="steps-and-epochs"),
        pytest.param([*TRAIN, "--epochs", "nan"], "epochs: expected a positive number, got nan", id="no-epochs"),
        pytest.param([*TRAIN, "--epochs", "1e308"], "epochs: expected at most 19789734 ", id="too-many-epochs"),
        pytest.param(["train", "vqvae", "--resume", "nowhere"], "nowhere/settings.json is not there", id="no-run"),
        pytest.param(["evaluate", "nowhere"], "nowhere: expected a saved model", id="no-model"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("aevae-fast: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["train", "vqvae", "--colour", "red"], "--colour", id="unknown-option"),
        pytest.param(["train", "vqvae", "--steps", "many"], "--steps", id="not-a-number"),
        pytest.param(["train", "vqvae", "--batch-size", "0", "--epochs", "1"], "--batch-size", id="no-batch"),
        pytest.param(["train", "vqvae", "--resume", "x", "--lr", "1"], "leave out --lr", id="changed-on-resume"),
    ],
)
def test_wrong_options_end_with_status_2(arguments, message, capsys):
    assert run(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_run_in_the_way_is_kept_unless_told(trained, capsys):
    assert run([*TRAIN, "--steps", "2", "--out", str(trained)]) == 2
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"),
    [("batch-size", "99999"), ("device", "abacus"), ("precision", "8-bit"), ("steps", "0"), ("lr", "0")],
)
def test_a_mistake_beside_overwrite_costs_nothing(trained, capsys, option, value):
    before = {file: file.read_bytes() for file in trained.rglob("*") if file.is_file()}
    assert run([*TRAIN, "--out", str(trained), "--overwrite", f"--{option}", value]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert {file: file.read_bytes() for file in trained.rglob("*") if file.is_file()} == before


def test_resuming_a_broken_state_is_one_line_and_status_2(trained, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(trained, out)
    file = out / "checkpoints" / "last.ckpt"
    file.write_bytes(file.read_bytes()[:1000])
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    assert run(["train", "vqvae", "--resume", str(out), "--steps", "30"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"aevae-fast: resume: expected the state of a run in {file}, got a broken file")
    assert error.count("\n") == 1
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before


def test_a_full_disk_is_one_line_and_status_1(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    assert run([*TRAIN, "--steps", "2", "--out", str(tmp_path / "run")]) == 1
    assert capsys.readouterr().err == "aevae-fast: [Errno 28] No space left on device\n"


@pytest.mark.parametrize(
    ("model", "own"),
    [
        ("vqvae", ["--codebook-size", "--decay"]),
        ("ae", ["--latent-dim", "--noise", "--likelihood"]),
        ("vae", ["--beta", "--capacity", "--warmup", "--likelihood", "default: 1.0"]),
        ("beta-vae", ["--beta", "default: 4.0"]),
    ],
)
def test_help_names_every_option(model, own, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["train", model, "--help"]) == 0
    shown = capsys.readouterr().out
    shared = ["--data", "--steps", "--resume", "--device", "--precision", "--seed", "--out", "--lr", "Stop with Ctrl-C"]
    assert [option for option in shared + own if option not in shown] == []


def test_help_loads_no_torch():
    script = "import sys; from aevae_fast.cli.app import run; run(sys.argv[1:]); assert 'lightning' not in sys.modules"
    subprocess.run([sys.executable, "-c", script, "train", "vae", "--help"], capture_output=True, check=True)


def test_without_the_extra_one_line_names_it():
    script = "import sys; sys.modules['typer'] = None; from aevae_fast.cli import main; main()"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "pip install aevae_fast[train]" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path):
    out = tmp_path / "run"
    command = [*COMMAND, *TRAIN, "--steps", "4000", "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (out / "checkpoints" / "last.ckpt").is_file() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        shown, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "")
    assert "Stopped by Ctrl-C after step" in shown
    assert f"aevae-fast train vqvae --resume {out}" in shown
