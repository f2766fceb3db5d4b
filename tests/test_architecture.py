"""The shape of the house: arrows one way, kernels behind a link, importable without Triton."""

import subprocess
import sys
from pathlib import Path

import aevae_fast
import aevae_fast.kernels

ROOT = Path(__file__).parent.parent


def _python(code: str, **env: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env or None, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_arrows_go_one_way() -> None:
    from importlinter.cli import lint_imports

    assert lint_imports(config_filename=str(ROOT / "pyproject.toml")) == 0


def test_kernels_are_the_top_level_folder_behind_a_link() -> None:
    link = Path(aevae_fast.__file__).parent / "kernels"
    assert link.resolve() == ROOT / "kernels"
    assert Path(aevae_fast.kernels.__file__ or "").resolve() == ROOT / "kernels" / "__init__.py"


def test_import_works_and_says_why_without_triton() -> None:
    said = _python(
        "import sys; sys.modules['triton'] = None\n"
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'triton' else find(name, *a)\n"
        "import torch, aevae_fast\n"
        "q, i, l = aevae_fast.VectorQuantize(4, 8)(torch.randn(5, 4))\n"
        "try: aevae_fast.functional.nearest_code(torch.randn(5, 4), torch.randn(3, 4), impl='triton')\n"
        "except ValueError as error: print(error)"
    )
    assert said == "impl='triton' cannot run here: Triton is not installed; impl='portable' can"


def test_using_a_layer_loads_neither_triton_nor_the_training_half() -> None:
    loaded = _python(
        "import torch, aevae_fast, sys; aevae_fast.VectorQuantize(4, 8)(torch.randn(5, 4))\n"
        "print([m for m in ('lightning', 'matplotlib', 'typer', 'aevae_fast.kernels.sweep') if m in sys.modules])"
    )
    assert loaded == "[]"


def test_wheel_carries_the_kernels_and_no_top_level_package_of_that_name(tmp_path: Path) -> None:
    import zipfile

    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        ".",
    ]
    subprocess.run(build, check=True, cwd=ROOT, capture_output=True)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    assert "aevae_fast/kernels/nearest_code.py" in names
    assert not [name for name in names if name.startswith(("kernels/", "tests/", "benchmarks/"))]
