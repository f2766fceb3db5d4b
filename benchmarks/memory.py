"""Peak memory of one call above what its inputs take.

On CUDA the allocator counts. On a CPU (Linux) a fresh process makes the call and reads its own high-water mark:

    python -m benchmarks.memory search aevae_fast 65536x256x16384-fp32
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from . import (
    latent_providers,
    mixture_providers,
    residual_providers,
    scalar_providers,
    search_providers,
    step_providers,
)
from .cases import AnyCase, parse

PROVIDERS = {
    "search": search_providers.PROVIDERS,
    "step": step_providers.PROVIDERS,
    "latent": latent_providers.PROVIDERS,
    "mixture": mixture_providers.PROVIDERS,
    "fsq": scalar_providers.FSQ,
    "lfq": scalar_providers.LFQ,
    "residual step": residual_providers.STEPS,
}


def peak_bytes(kind: str, provider: str, case: AnyCase, device: torch.device) -> int:
    """Bytes that `provider` holds at its peak in one call, beyond its inputs and state."""
    if device.type == "cuda":
        return _cuda_peak(_prepare(kind, provider, case, device))
    command = [sys.executable, "-m", "benchmarks.memory", kind, provider, str(case)]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return int(json.loads(done.stdout.splitlines()[-1]))


def _prepare(kind: str, provider: str, case: AnyCase, device: torch.device) -> Callable[[], Any]:
    return PROVIDERS[kind][provider].prepare(*case.draw(device))


def _cuda_peak(call: Callable[[], Any]) -> int:
    call()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _cpu_peak(kind: str, provider: str, case: AnyCase) -> int:
    device = torch.device("cpu")
    sizes: dict[str, Any] = {size: 64 for size in ("rows", "codes", "components") if hasattr(case, size)}
    few = case._replace(**sizes)
    _prepare(kind, provider, few, device)()  # thread pools, lazy imports
    call = _prepare(kind, provider, case, device)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark starts again from here
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


def _main(kind: str, provider: str, case: str) -> None:
    print(json.dumps(_cpu_peak(kind, provider, parse(case))))


if __name__ == "__main__":
    _main(*sys.argv[1:])
