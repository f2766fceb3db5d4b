"""The commands of `aevae-fast`, and how their errors reach the user."""

import re
import sys
from importlib import import_module
from importlib.util import find_spec

import typer

from . import INSTALL
from .compare import compare
from .evaluate import evaluate, reconstruct
from .generate import generate, interpolate
from .options import flowing
from .study import study_app
from .train import train_app

app = typer.Typer(
    name="aevae-fast",
    help="Fast VQ and VAE layers for PyTorch: train, measure and try.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(train_app, name="train")
app.add_typer(study_app, name="study")
for _command in (evaluate, reconstruct, generate, interpolate, compare):
    app.command(help=flowing(_command.__doc__))(_command)
for _name in ("check", "info"):
    if find_spec(f"aevae_fast.cli.{_name}"):
        _command = getattr(import_module(f"aevae_fast.cli.{_name}"), _name)
        app.command(_name, help=flowing(_command.__doc__))(_command)


def run(arguments: list[str]) -> int:
    """Run the command line `arguments`; returns the exit status. A user's mistake is one line on stderr, status 2."""
    try:
        app(arguments, prog_name="aevae-fast")
    except SystemExit as finished:  # typer ends every command so, wrong options with status 2
        return int(finished.code or 0)
    except ModuleNotFoundError as error:
        return fail(f"a package is missing ({error.name}): {INSTALL}", 1)
    except ImportError as error:
        return fail(str(error), 1)
    except (ValueError, TypeError, FileNotFoundError) as error:
        return fail(str(error), 2)
    except (OSError, ArithmeticError) as error:
        return fail(str(error), 1)
    except (MemoryError, RuntimeError) as error:
        wanted = _allocation(error)
        if wanted is None:
            raise
        return fail(f"out of memory ({wanted}); fewer images at a time, or a smaller model, may fit", 1)
    return 0


def _allocation(error: Exception) -> str | None:
    """What memory was wanted; None if the error is another one."""
    if isinstance(error, MemoryError):
        return str(error) or "Python's own"
    wanted = re.search(r"tried to allocate \d[\d.]* \w+", str(error), re.IGNORECASE)  # PyTorch, CPU and CUDA
    return wanted[0] if wanted else None


def fail(message: str, status: int) -> int:
    """Print `message` as one line on stderr; returns `status`."""
    print(f"aevae-fast: {' '.join(message.split())}", file=sys.stderr)
    return status
