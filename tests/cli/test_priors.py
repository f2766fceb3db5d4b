"""`aevae-fast train vae` with a prior and a posterior by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from aevae_fast.cli.app import run

TINY = [
    "--data",
    "digits",
    "--steps",
    "4",
    "--batch-size",
    "32",
    "--body",
    "mlp",
    "--latent-dim",
    "3",
    "--device",
    "cpu",
]


def test_both_reach_the_model_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["train", "vae", *TINY, "--prior", "mixture", "--latent", "full_covariance"]) == 0
    assert "mixture prior, full_covariance posterior on digits" in " ".join(capsys.readouterr().out.split())
    out = tmp_path / "runs" / "vae-digits"
    config: dict[str, Any] = json.loads((out / "model" / "config.json").read_text())["config"]
    assert (config["prior"], config["latent"]) == ("mixture", "full_covariance")
    assert run(["train", "vae", "--resume", str(out), "--steps", "6"]) == 0
    assert run(["evaluate", str(out)]) == 0
    assert run(["generate", str(out)]) == 0


def test_a_name_that_is_none_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "vae", *TINY, "--prior", "normal", "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("aevae-fast: prior must be one of 'standard', 'gaussian', 'mixture', 'vamp'")
    assert len(error.splitlines()) == 1


def test_a_prior_that_needs_zuko_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "zuko", None)
    assert run(["train", "vae", *TINY, "--prior", "spline", "--out", str(tmp_path / "run")]) == 1
    assert "pip install 'aevae_fast[flows]'" in capsys.readouterr().err
