"""Files that are there as a whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(*files: Path) -> Iterator[list[Path]]:
    """Paths beside `files` to write to. They take the place of `files` when the block ends; where it fails or is
    interrupted they vanish, and what was there before stays."""
    unfinished = [file.with_name(file.name + ".unfinished") for file in files]
    try:
        yield unfinished
        for new, file in zip(unfinished, files, strict=True):
            os.replace(new, file)
    finally:
        for new in unfinished:
            new.unlink(missing_ok=True)
