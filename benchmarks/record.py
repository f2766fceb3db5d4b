"""Records: one JSON file a device, whole or not at all."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def write_record(path: Path, environment: dict[str, Any], entries: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".json.part")
    draft.write_text(json.dumps({**environment, "cases": entries}, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)
    return path


def read_records(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Every device's record, GPUs first; other files there are somebody else's."""
    files = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    records = [content for content in files if isinstance(content, dict) and {"device", "cases"} <= content.keys()]
    return sorted(records, key=lambda record: record["type"] != "cuda")
