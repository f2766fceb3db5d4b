"""Folders that hold several runs and what was found of them: a comparison, a study."""

import shutil
from pathlib import Path

from .settings import FAMILY_KEY, SETTINGS_FILE, read_settings


def make_room(out: Path, family: str, what: str, overwrite: bool) -> None:
    """See that a new one of `what`, whose settings are of `family`, may begin in `out`; remove what is to be replaced.

    Raises:
        ValueError: `out` holds one already and `overwrite` is not set, or it holds something else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / SETTINGS_FILE).is_file() or read_settings(out).get(FAMILY_KEY) != family:
        raise ValueError(f"out: expected a new or empty folder, or one that holds a {what}, but {out} holds others")
    if not overwrite:
        raise ValueError(f"out: {out} already holds a {what}; go on with --resume {out}, or add --overwrite")
    shutil.rmtree(out)
