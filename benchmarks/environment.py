"""On what a record was measured: device, clocks, versions, commit."""

import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from . import record

_PACKAGES = ("torch", "triton", "numpy", "vector-quantize-pytorch", "faiss-cpu", "flash-kmeans", "pytest-benchmark")
_ROOT = Path(__file__).parent.parent


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = re.search(r"model name\s*: (.*)", _read(Path("/proc/cpuinfo")))
    return f"{model[1].strip() if model else platform.machine()}, {torch.get_num_threads()} threads"


def slug(device: torch.device) -> str:
    """The name of a device's record."""
    return record.slug(device_name(device), device.type)


def environment(device: torch.device, load: float) -> dict[str, Any]:
    """`load`: processes that wanted to run in the minute before the suite began."""
    commit = _output("git", "rev-parse", "HEAD")
    return {
        "device": device_name(device),
        "type": device.type,
        "commit": commit or None,
        "dirty": bool(_output("git", "status", "--porcelain")) if commit else None,
        "versions": {"python": platform.python_version(), "cuda": torch.version.cuda, **_versions()},
        "clocks": _clocks(device),
        "load": round(load, 2),
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _clocks(device: torch.device) -> dict[str, str]:
    if device.type == "cuda":
        fields = ("driver_version", "clocks.sm", "clocks.mem", "clocks.max.sm", "power.limit")
        number = torch.cuda.current_device() if device.index is None else device.index
        values = _output("nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader", "-i", str(number))
        return dict(zip(fields, values.split(", "), strict=False))
    clocks = re.findall(r"cpu MHz\s*: ([\d.]+)", _read(Path("/proc/cpuinfo")))
    return {"cpu": f"{max(map(float, clocks)):.0f} MHz"} if clocks else {}


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _output(*command: str) -> str:
    """What a command prints; nothing where it is missing or fails."""
    try:
        return subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return ""
