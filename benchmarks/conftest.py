"""The suite's options, its interleaved measurements, and the record that it writes."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from . import cases
from .environment import environment, slug
from .measure import Measured
from .memory import peak_bytes
from .record import write_record

_load = pytest.StashKey[float]()
_entries = pytest.StashKey[dict[tuple[str, cases.AnyCase], dict[str, Any]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("aevae_fast")
    group.addoption("--bench-device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    group.addoption("--smoke", action="store_true", help="tiny sizes, two repeats: does it run?")
    group.addoption("--record", type=Path, help="folder for <device>.json, written if the whole suite passed")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_entries] = {}
    config.stash[_load] = os.getloadavg()[0]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Cases of the device (or the smoke test's) for a test that asks for `case`; its module says which kind."""
    if "case" in metafunc.fixturenames:
        config = metafunc.config
        scale = "smoke" if config.getoption("--smoke") else config.getoption("--bench-device")
        metafunc.parametrize("case", metafunc.module.CASES[scale], ids=str, scope="module")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    device = torch.device(request.config.getoption("--bench-device"))
    if device.type == "cuda":
        torch.empty(1, device=device)
        device = torch.device("cuda", torch.cuda.current_device())
    return device


@pytest.fixture(scope="session")
def measured(request: pytest.FixtureRequest, device: torch.device) -> Callable[[str, cases.AnyCase], Measured]:
    """Measure a case when its first test asks; the tests of its other providers read the same measurement."""
    scale = "smoke" if request.config.getoption("--smoke") else device.type

    @cache
    def measure(kind: str, case: cases.AnyCase) -> Measured:
        result = Measured(kind, case, device, scale)
        request.config.stash[_entries][kind, case] = result.entry()
        return result

    return measure


@pytest.fixture(scope="session")
def peak(request: pytest.FixtureRequest, device: torch.device) -> Callable[[str, str, cases.AnyCase], int]:
    """Peak memory of a provider, noted for the record."""

    def measure(kind: str, provider: str, case: cases.AnyCase) -> int:
        used = peak_bytes(kind, provider, case, device)
        empty = {"kind": f"{kind} memory", **case._asdict(), "unit": "MiB", "providers": {}}
        entry = request.config.stash[_entries].setdefault((f"{kind} memory", case), empty)
        entry["providers"][provider] = round(used / 2**20, 1)
        return used

    return measure


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    folder = session.config.getoption("--record")
    if folder is None or session.config.option.collectonly:
        return
    device = torch.device(session.config.getoption("--bench-device"))
    expected = sum(len(group[device.type]) for group in cases.ALL)
    entries = session.config.stash[_entries]
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    whole = exitstatus == 0 and len(entries) == expected and not session.config.getoption("--smoke")
    if whole:
        path = write_record(
            folder / f"{slug(device)}.json", environment(device, session.config.stash[_load]), list(entries.values())
        )
        message = f"recorded in {path}"
    else:
        message = "nothing recorded: a record needs the whole suite, at full size, without a failure"
    if reporter:
        reporter.write_line(f"\n{message}")
