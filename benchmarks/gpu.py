"""Everything that needs a GPU, in one command: tests, kernels on the device, `aevae-fast check`, then the benchmarks.

    python -m benchmarks.gpu [--out DIR]

Writes DIR/<device>.json (benchmarks/results by default). Each stage must pass before the next one starts, so a red test
leaves no numbers. Needs torch, triton, numpy, pytest, pytest-benchmark, rich and typer; peers that are missing are
skipped and named in the record.
"""

import argparse
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import torch

from .record import RESULTS

_ROOT = Path(__file__).parent.parent
_CHECK = "import sys; from aevae_fast.cli import main; sys.argv[1:] = ['check', '--device', 'cuda']; main()"


def stages(out: Path) -> dict[str, list[str]]:
    """What runs, in order."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    return {
        "GPU tests": [*pytest, "-m", "gpu", "tests"],
        "kernel tests on the device": [*pytest, "-m", "not gpu", "tests/kernels"],
        "aevae-fast check": [sys.executable, "-c", _CHECK],
        "benchmarks": [
            *pytest,
            "benchmarks",
            "--bench-device=cuda",
            f"--record={out.resolve()}",
            "--benchmark-columns=median,iqr,rounds",
            "--benchmark-sort=mean",
            "--benchmark-name=short",
        ],
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the record")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("No CUDA device here: PyTorch finds none. Nothing was tested or measured.", file=sys.stderr)
        return 1
    print(f"On {torch.cuda.get_device_name()}", flush=True)
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    for title, command in stages(options.out).items():
        print(f"\n== {title}: {shlex.join(command)}", flush=True)
        start = time.monotonic()
        status = subprocess.run(command, cwd=_ROOT, env=environment, check=False).returncode
        if status:
            print(f"\n{title} failed (exit status {status}); no numbers were written.", file=sys.stderr)
            return 1
        print(f"== {title}: {time.monotonic() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
