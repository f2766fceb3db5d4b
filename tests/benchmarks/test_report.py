"""Records and what README shows of them."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks import report
from benchmarks.environment import environment, slug
from benchmarks.record import read_records, write_record

ENTRY = {
    "kind": "search",
    "rows": 300,
    "dim": 8,
    "codes": 50,
    "dtype": "fp32",
    "unit": "ms",
    "providers": {
        "aevae_fast": {"median": 0.125, "p20": 0.1, "p80": 0.2, "repeats": 9, "ours_over": 1.0},
        "a peer": {"median": 123.4, "p20": 120.0, "p80": 130.0, "repeats": 9, "ours_over": 0.001013},
    },
    "skipped": {"another": "is not installed"},
}
MEMORY = ENTRY | {"kind": "search memory", "unit": "MiB", "providers": {"aevae_fast": 35.6}}


def test_readme_shows_what_the_records_hold() -> None:
    assert report.main(["--check"]) == 0


def test_a_record_becomes_tables(tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    path = write_record(tmp_path / "results" / f"{slug(cpu)}.json", environment(cpu, 3.0), [ENTRY, MEMORY])
    (path.parent / "other.json").write_text(json.dumps({"unrelated": 1}), encoding="utf-8")
    assert path.name.startswith("cpu-")
    (record,) = read_records(path.parent)
    assert {"device", "type", "commit", "dirty", "versions", "clocks", "load", "cases"} == record.keys()
    assert record["versions"]["torch"] == torch.__version__
    text = report.render([record])
    assert "Other work was running (load 3.0)" in text
    assert "| 300, 8, 50 | fp32 | **0.125** | 123 (0.00×) |" in text
    assert "| nearest code | 300, 8, 50 | 36 |" in text


def test_a_known_floor_gets_its_column() -> None:
    record = {"device": "a GPU", "versions": {}, "commit": "0123456789abcdef", "dirty": False, "load": 0.1}
    text = report.render([record | {"cases": [ENTRY | {"floor": 0.05, "ours_over_floor": 2.5}]}])
    assert "commit 0123456789ab." in text
    assert "| 300, 8, 50 | fp32 | 0.0500 (2.50×) |" in text


def test_only_what_lies_between_the_markers_changes(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", encoding="utf-8")
    arguments = ["--readme", str(readme), "--results", str(tmp_path)]
    assert report.main([*arguments, "--check"]) == 1
    assert report.main(arguments) == 0
    assert report.main([*arguments, "--check"]) == 0
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text


@pytest.mark.parametrize("text", ["none", report.BEGIN, f"{report.END}{report.BEGIN}", report.BEGIN + report.END * 2])
def test_markers_must_be_there_once(text: str) -> None:
    with pytest.raises(ValueError, match="README must hold"):
        report.updated(text, [])
