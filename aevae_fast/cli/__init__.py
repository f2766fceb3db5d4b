"""The `aevae-fast` command."""

import sys

INSTALL = "pip install aevae_fast[train]"


def main() -> None:
    """Entry point of the console script; exit status 0, 1 (it failed) or 2 (it was called wrongly)."""
    try:
        from .app import run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("aevae_fast"):
            raise
        sys.exit(f"aevae-fast: the command needs a package that is missing ({error.name}): {INSTALL}")
    sys.exit(run(sys.argv[1:]))
