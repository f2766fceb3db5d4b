"""The suite as a whole, on tiny sizes; and the gate in front of a GPU's numbers."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu

ROOT = Path(__file__).parents[2]


def test_the_suite_runs_and_records_nothing_of_a_smoke_test(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "benchmarks", "--smoke", "--bench-device=cpu", f"--record={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing recorded" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 1
    assert "No CUDA device" in capsys.readouterr().err


def test_a_red_stage_stops_the_rest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    reached = tmp_path / "reached"
    commands = {
        "green": [sys.executable, "-c", "pass"],
        "red": [sys.executable, "-c", "raise SystemExit(3)"],
        "after": [sys.executable, "-c", f"open({str(reached)!r}, 'w')"],
    }
    monkeypatch.setattr(gpu, "stages", lambda out: commands)
    assert gpu.main([]) == 1
    assert "red failed (exit status 3)" in capsys.readouterr().err
    assert not reached.exists()
