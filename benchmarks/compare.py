"""What `aevae-fast compare` finds here, kept: the numbers as a record, the page and its picture in the docs.

    python -m benchmarks.compare [--out runs/compare-record] [--seed 0]

Writes `benchmarks/results/compare.json`, `docs/compare.md` and `docs/compare.png`. Goes on with a comparison that is in
--out already.
"""

import argparse
import json
import os
from pathlib import Path

import torch
from PIL import Image
from rich.console import Console

from aevae_fast.data import load_images
from aevae_fast.training.compare import CompareSettings, compare
from aevae_fast.training.compare.page import write_page

from .environment import environment
from .record import RESULTS

DOCS = Path(__file__).parent.parent / "docs"
RECORD = RESULTS / "compare.json"
ORIGIN = (
    "\nWritten by `python -m benchmarks.compare`; the record: [compare.json](../benchmarks/results/compare.json).\n"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs") / "compare-record")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    where = environment(torch.device("cpu"), os.getloadavg()[0])
    settings = CompareSettings(device="cpu", seed=options.seed)
    comparison = compare(
        settings, load_images(settings.data), options.out, resume=options.out.exists(), console=Console()
    )
    metrics = comparison.metrics | {"device": where["device"], "commit": where["commit"]}
    RECORD.write_text(json.dumps({**where, "comparison": comparison.metrics}, indent=1) + "\n", encoding="utf-8")
    page = write_page(metrics, comparison.claims, "compare.png") + ORIGIN
    (DOCS / "compare.md").write_text(page, encoding="utf-8")
    with Image.open(options.out / "compare.png") as picture:
        picture.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(DOCS / "compare.png", optimize=True)
    print(f"wrote {RECORD}, {DOCS / 'compare.md'} and {DOCS / 'compare.png'}")


if __name__ == "__main__":
    main()
