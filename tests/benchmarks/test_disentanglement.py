"""The page on disentanglement and its record."""

import json

import pytest

from benchmarks.compare import DOCS
from benchmarks.disentanglement import PAGE, PICTURE, RECORD, page_of
from benchmarks.record import RESULTS


@pytest.fixture
def record():
    return json.loads((RESULTS / RECORD).read_text(encoding="utf-8"))


def test_the_page_is_the_records(record):
    assert (DOCS / PAGE).read_text(encoding="utf-8") == page_of(record)
    assert (DOCS / PICTURE).is_file()


def test_the_page_names_its_origin(record):
    page = page_of(record | {"commit": "0123456789abcdef", "dirty": True, "load": 3.0, "device": "an abacus"})
    assert "trained from commit 0123456789ab, with uncommitted changes. Other work was running (load 3.0)." in page
    assert "an abacus, torch" in page
