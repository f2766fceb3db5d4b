"""What `aevae-fast compare` finds here, kept: the numbers as a record, the page and its picture in the docs.

    python -m benchmarks.compare [--out runs/compare-record] [--data mnist] [--steps 2000] [--seed 0]

Writes `compare.json` to --results (benchmarks/results), `compare.md` and `compare.png` to --docs (docs). Goes on with
the comparison by the same settings that is in --out already; the record keeps the commit and the load at its beginning.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console

from aevae_fast.data import load_images
from aevae_fast.training.compare import CompareSettings, compare
from aevae_fast.training.compare.page import write_page

from .environment import environment
from .record import RESULTS, origin

DOCS = Path(__file__).parent.parent / "docs"
RECORD, PAGE, PICTURE = "compare.json", "compare.md", "compare.png"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs") / "compare-record")
    parser.add_argument("--data", default="mnist", help="mnist or digits")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--docs", type=Path, default=DOCS)
    options = parser.parse_args(arguments)
    settings = CompareSettings(data=options.data, steps=options.steps, seed=options.seed, device="cpu")
    resume = options.out.exists()
    begun = beginning(options.out, resume)
    comparison = compare(settings, load_images(settings.data), options.out, resume=resume, console=Console())
    for folder in (options.results, options.docs):
        folder.mkdir(parents=True, exist_ok=True)
    record = {**begun, "comparison": comparison.metrics}
    (options.results / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    page = write_page(comparison.metrics | {"device": begun["device"]}, comparison.claims, PICTURE)
    (options.docs / PAGE).write_text(page + footnote(begun), encoding="utf-8")
    with Image.open(options.out / PICTURE) as picture:
        picture.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(options.docs / PICTURE, optimize=True)
    print(f"wrote {options.results / RECORD}, {options.docs / PAGE} and {options.docs / PICTURE}")


def beginning(out: Path, resume: bool) -> dict[str, Any]:
    """Device, versions, commit and load as the training of the comparison in `out` began; kept beside `out`.

    Raises:
        FileNotFoundError: a comparison to resume whose beginning was not kept.
    """
    file = out.with_name(f"{out.name}-begun.json")
    if not resume:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(environment(torch.device("cpu"), os.getloadavg()[0])) + "\n", encoding="utf-8")
    elif not file.is_file():
        raise FileNotFoundError(
            f"--out: {out} is there, but not {file}, which says of which commit it is; take another"
        )
    kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return kept


def footnote(begun: dict[str, Any]) -> str:
    return (
        f"\nWritten by `python -m benchmarks.compare`, trained from {origin(begun)} The record: "
        f"[{RECORD}](../benchmarks/results/{RECORD}).\n"
    )


if __name__ == "__main__":
    main()
