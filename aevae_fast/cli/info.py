"""`aevae-fast info`: what is installed here, and what runs where."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

OPERATIONS = (
    "nearest_code", "vector_quantize", "codebook_statistics", "ema_update_", "rotate_to",
    "reparameterize_kl", "gaussian_kl", "gaussian_logsumexp",
)  # fmt: skip


def info() -> None:
    """Show versions and devices, which implementation serves each operation on each device, and why."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    about = Table("", "", box=box.SIMPLE, show_header=False, title="Installed", title_justify="left")
    for name, value in installed().items():
        about.add_row(name, value)
    served = Table("device", "implementation", "why not a faster one", box=box.SIMPLE)
    served.title, served.title_justify = f"What runs {', '.join(OPERATIONS)}", "left"
    for device, name in devices():
        served.add_row(f"{device} [dim]({name})[/dim]", *serving(device))
    console.print(about, served)


def installed() -> dict[str, str]:
    """Versions of what matters here, by name."""
    import torch

    from aevae_fast import __version__

    found = {"aevae_fast": __version__, "python": platform.python_version(), "system": platform.platform()}
    found["torch"] = torch.__version__
    try:
        found["triton"] = version("triton")
    except PackageNotFoundError:
        found["triton"] = "not installed"
    found["CUDA"] = torch.version.cuda or "not in this build of PyTorch"
    if torch.version.hip:
        found["ROCm"] = torch.version.hip
    return found


def devices() -> "list[tuple[torch.device, str]]":
    """Every device that PyTorch can use here, with its name."""
    import torch

    found = [(torch.device("cpu"), f"{processor_name()}, {torch.get_num_threads()} threads")]
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        memory = properties.total_memory / 2**30
        found.append((torch.device("cuda", number), f"{properties.name}, {memory:.0f} GiB"))
    if torch.backends.mps.is_available():
        found.append((torch.device("mps"), platform.processor()))
    return found


def serving(device: "torch.device") -> tuple[str, str]:
    """The implementation that a call on `device` gets, and why it is not the Triton kernel ("" where it is)."""
    from aevae_fast.functional._dispatch import triton_obstacle

    obstacle = triton_obstacle(device)
    if device.type == "cuda" and obstacle is None:
        return "triton", ""
    if obstacle is None:
        return "portable", "TRITON_INTERPRET=1 is set: impl='triton' runs here, interpreted and slow"
    return "portable", obstacle


def processor_name() -> str:
    """The CPU's name, as its maker puts it where the system tells."""
    if sys.platform == "linux" and os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()
