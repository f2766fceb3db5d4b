"""Records and what README shows of them."""

import json
from pathlib import Path
from typing import Any

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
    record = {
        "device": "a GPU",
        "type": "cuda",
        "versions": {},
        "commit": "0123456789abcdef",
        "dirty": False,
        "load": 0.1,
    }
    text = report.render([record | {"cases": [ENTRY | {"floor": 0.05, "ours_over_floor": 2.5}]}])
    assert "commit 0123456789ab." in text
    assert "| 300, 8, 50 | fp32 | 0.0500 (2.50×) |" in text


def test_training_tables_say_what_makes_them_less_sure(tmp_path: Path) -> None:
    settings = {"data": "mnist", "steps": 5, "seeds": 2, "network": [4, 2, 4], "samples": 3}
    record = {"device": "a CPU", "commit": "0123456789abcdef", "settings": settings, "models": {}, "layers": {}}
    for name in ("vae_quality", "training_quality"):
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(record | {"dirty": True, "load": 9.01}), encoding="utf-8")
        unsure = "a CPU, commit 0123456789ab, with uncommitted changes. Other work was running (load 9.0)."
        assert unsure in report.render([], tmp_path)
        file.write_text(json.dumps(record | {"dirty": False, "load": 0.2}), encoding="utf-8")
        text = report.render([], tmp_path)
        assert "a CPU, commit 0123456789ab." in text
        assert "uncommitted" not in text
        assert "Other work" not in text
        file.unlink()


def test_compiled_kernels_are_shown_by_target(tmp_path: Path) -> None:
    def counted(unit: str, count: float) -> dict[str, Any]:
        return {unit: count, f"{unit}_by_opcode": {}, "registers": 216, "shared": 0}

    sm_90 = {
        "nearest_code D=64 bf16 rows": counted("per_pair", 2.184),
        "reparameterize_kl D=256 fp32 chunk": counted("per_element", 44.562),
        "reparameterize_kl_bwd D=256 bf16 chunk": counted("per_element", 52.75),
        "gaussian_kl D=256 bf16 chunk": counted("per_element", 28.125),
        "gaussian_kl_bwd D=256 fp32 chunk": counted("per_element", 27.812),
    }
    record = {"triton": "3.9.0", "targets": {"sm_90": sm_90, "gfx942": {}}}
    (tmp_path / "compile_report.json").write_text(json.dumps(record), encoding="utf-8")
    text = report.render([], tmp_path)
    assert "| D = 64, bf16 | 2.18 | - |" in text
    assert "| sample and KL, fp32 | 44.56 | - |" in text
    assert "| sample and KL, backward, bf16 | 52.75 | - |" in text
    assert "| KL alone, bf16 | 28.12 | - |" in text
    assert "| KL alone, backward, fp32 | 27.81 | - |" in text


def test_only_what_lies_between_the_markers_changes(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", encoding="utf-8")
    arguments = ["--readme", str(readme), "--results", str(tmp_path), "--docs", str(tmp_path)]
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
