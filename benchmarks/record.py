"""Records: one JSON file a device, whole or not at all."""

import json
import re
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
OURS = "aevae_fast"  # the provider that all others are held against
YARDSTICK = "mm into place"  # on a CPU the floor of a search: the bare product
_BUSY = 0.7  # load average before a measurement from which its numbers are to be taken with care


def slug(name: str, kind: str) -> str:
    """The name of a device's record: letters, digits and dashes, CPUs under `cpu-`."""
    letters = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return letters if kind == "cuda" else f"cpu-{letters}"


def write_record(path: Path, environment: dict[str, Any], entries: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".json.part")
    draft.write_text(json.dumps({**environment, "cases": entries}, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)
    return path


def origin(record: dict[str, Any]) -> str:
    """Of which commit a record is, and what makes its numbers less sure: a sentence, or two."""
    commit = f"commit {record['commit'][:12]}" if record["commit"] else "no commit"
    dirty = ", with uncommitted changes" if record.get("dirty") else ""
    load = record.get("load", 0.0)
    return f"{commit}{dirty}." + (f" Other work was running (load {load:.1f})." if load > _BUSY else "")


def read_records(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Every device's record, GPUs first; other files there are somebody else's."""
    files = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    records = [content for content in files if isinstance(content, dict) and {"device", "cases"} <= content.keys()]
    return sorted(records, key=lambda record: record["type"] != "cuda")
