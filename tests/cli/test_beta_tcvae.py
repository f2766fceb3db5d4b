"""`aevae-fast train beta-tcvae`, and what a newcomer does next."""

import json

from aevae_fast.cli.app import run

TINY = ["--data", "digits", "--steps", "4", "--batch-size", "32", "--channels", "8", "--latent-dim", "3"]
OPTIONS = ["--beta", "2.5", "--alpha", "0.5", "--gamma", "2", "--sampling", "stratified", "--device", "cpu"]


def test_options_reach_the_model_and_the_run_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["train", "beta-tcvae", *TINY, *OPTIONS]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "β-TCVAE with a latent of 3, α = 0.5, β = 2.5, γ = 2, stratified sampling on digits" in shown
    out = tmp_path / "runs" / "beta-tcvae-digits"
    config = json.loads((out / "model" / "config.json").read_text())["config"]
    assert config["objective"] == "beta_tcvae"
    assert config["objective_options"] | {"dataset_size": 0} == {
        "dataset_size": 0,
        "alpha": 0.5,
        "beta": 2.5,
        "gamma": 2.0,
        "sampling": "stratified",
        "compat": None,
    }
    assert run(["train", "vae", "--resume", str(out)]) == 2
    assert "aevae-fast train beta-tcvae --resume" in capsys.readouterr().err
    assert run(["train", "beta-tcvae", "--resume", str(out), "--steps", "6"]) == 0
    assert run(["evaluate", str(out)]) == 0
    assert run(["generate", str(out), "-n", "2", "--out", str(tmp_path / "samples.png")]) == 0


def test_an_unknown_sampling_is_one_clear_line(tmp_path, capsys):
    assert run(["train", "beta-tcvae", *TINY, "--sampling", "mss", "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("aevae-fast: sampling must be one of 'weighted', 'stratified'; got 'mss'")
