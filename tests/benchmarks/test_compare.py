"""The record of a comparison: what it is of, and the page beside it."""

import json
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import compare


def test_record_page_and_picture(tmp_path: Path) -> None:
    places = [f"--{name}={tmp_path / name}" for name in ("out", "results", "docs")]
    compare.main([*places, "--data", "digits", "--steps", "1"])
    record = json.loads((tmp_path / "results" / "compare.json").read_text(encoding="utf-8"))
    assert {"device", "commit", "dirty", "versions", "load", "comparison"} <= record.keys()
    assert record["comparison"] == json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    page = (tmp_path / "docs" / "compare.md").read_text(encoding="utf-8")
    assert page.endswith(compare.footnote(record))
    assert all(f"**{claim['verdict']}**" in page for claim in record["comparison"]["claims"])
    with Image.open(tmp_path / "docs" / "compare.png") as picture:
        assert min(picture.size) > 1000


def test_the_beginning_is_kept_on_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "environment", lambda device, load: {"commit": "first"})
    begun = compare.beginning(tmp_path / "out", False)
    monkeypatch.setattr(compare, "environment", lambda device, load: {"commit": "second"})
    assert compare.beginning(tmp_path / "out", True) == begun == {"commit": "first"}
    assert compare.beginning(tmp_path / "out", False) == {"commit": "second"}
    with pytest.raises(FileNotFoundError, match=r"other-begun\.json, which says of which commit"):
        compare.beginning(tmp_path / "other", True)


def test_the_page_says_of_what_it_is() -> None:
    begun = {"commit": "0123456789abcdef", "dirty": True, "load": 3.0}
    assert "trained from commit 0123456789ab, with uncommitted changes. Other work was" in compare.footnote(begun)
    assert "uncommitted" not in compare.footnote(begun | {"dirty": False})
