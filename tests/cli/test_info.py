"""`aevae-fast info`: versions, devices, and who serves what."""

import pytest
import torch

from aevae_fast import functional
from aevae_fast.cli import info
from aevae_fast.cli.app import run
from aevae_fast.functional import _ops


def test_shows_versions_and_what_runs_where(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert run(["info"]) == 0
    shown = capsys.readouterr().out
    assert torch.__version__ in shown
    assert "portable" in shown
    assert all(operation in shown for operation in info.OPERATIONS)


def test_says_why_not_a_faster_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    implementation, reason = info.serving(torch.device("cpu"))
    assert implementation == "portable"
    assert "cpu" in reason
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert "interpreted" in info.serving(torch.device("cpu"))[1]


def test_says_which_gpus_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: {0: (9, 0), 1: (7, 5)}[device.index])
    _ops.gpu_obstacle.cache_clear()
    try:
        assert info.serving(torch.device("cuda:0")) == ("triton", "")
        implementation, reason = info.serving(torch.device("cuda:1"))
    finally:
        _ops.gpu_obstacle.cache_clear()
    assert implementation == "portable"
    assert "7.5" in reason


def test_operations_are_those_of_the_package() -> None:
    assert set(info.OPERATIONS) <= set(functional.__all__)
