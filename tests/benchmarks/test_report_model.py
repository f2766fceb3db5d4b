"""What the report says of the cost model, with a GPU's record and without; and the plots beside it."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks import report
from benchmarks.case_types import AnyCase, Case, LatentCase
from benchmarks.cases import OPEN, SWEEP, along
from benchmarks.devices import DEVICES
from benchmarks.evidence import Evidence, read_evidence
from benchmarks.plot_sweep import floor, series
from benchmarks.plots import plots
from benchmarks.predictions import UNMEASURED, cpu_comparison, gpu_comparison, prediction, unmeasured
from benchmarks.record import RESULTS
from tests.benchmarks.fake_records import COMPILED, EVIDENCE, entry, memory, record

H100 = "NVIDIA H100 80GB HBM3"
BASE, NONE = Case(65536, 64, 1024), Evidence({})


def microseconds(kind: str, case: AnyCase) -> float:
    found = prediction(kind, case, DEVICES["H100"], EVIDENCE)
    assert found is not None
    return found.seconds * 1e6


def gpu_record(slower: float) -> dict[str, Any]:
    """Ours takes `slower` times as long as predicted as a graph, and twice that when launched by the host."""
    cases: list[tuple[str, AnyCase]] = [("search", BASE), ("step", BASE), ("latent", LatentCase(65536, 256))]
    entries = []
    for kind, case in cases:
        graph = slower * microseconds(kind, case) / 1e3
        entries.append(
            entry(kind, case, 2 * graph, ours={"graph": graph}, floor=0.005, ours_over_floor=2 * graph / 0.005)
        )
    return record(H100, "cuda", entries)


def results(folder: Path, *records: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "compile_report.json").write_text(json.dumps({"triton": "3.9.0", "targets": COMPILED}), encoding="utf-8")
    for number, content in enumerate(records):
        (folder / f"{number}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_every_shape_is_predicted_from_the_committed_record() -> None:
    heading, text, rows, of_open, open_rows = unmeasured("H100", read_evidence(RESULTS))
    assert heading == "### H100: unmeasured predictions"
    assert "not measured" in text
    assert len(rows.splitlines()) == 2 + len(UNMEASURED)
    assert "no row is certified" in of_open
    assert len(open_rows.splitlines()) == 2 + len(OPEN["cuda"])


def test_what_is_swept_in_vain_costs_more_than_comparing_alone() -> None:
    settled = {f"settle D={dim} fp32 rows": COMPILED["sm_90"]["nearest_code D=64 fp32 rows"] for dim in (8, 64, 256)}
    evidence = Evidence({"sm_90": COMPILED["sm_90"] | settled})
    for row in unmeasured("H100", evidence)[-1].splitlines()[2:]:
        ours, alone, ratio = (float(cell.strip(" ×")) for cell in row.strip("|").split("|")[-3:])
        assert ours > alone > 0
        assert ratio == pytest.approx(ours / alone, rel=0.01)
    assert len(unmeasured("H100", EVIDENCE)) == 3  # no record of the kernel that settles


def test_a_prediction_is_shown_in_microseconds_with_its_floor() -> None:
    rows = unmeasured("H100", EVIDENCE)[2].splitlines()
    (row,) = (row for row in rows if "nearest code | 65536, 64, 1024 | fp32" in row)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[3] == "8.68"
    assert float(cells[4]) == pytest.approx(microseconds("search", BASE), rel=0.01)
    assert float(cells[5]) < float(cells[4])
    assert float(cells[6].rstrip("×")) == pytest.approx(float(cells[4]) / 8.68, rel=0.01)
    assert cells[7] == "product"


def test_without_a_gpu_predictions_say_that_they_are_unmeasured(tmp_path: Path) -> None:
    cpu = record("Some CPU", "cpu", [entry("search", Case(300, 8, 50), 1.0)])
    text = report.render([cpu], results(tmp_path))
    assert "H100: unmeasured predictions" in text
    assert "The cost model" not in text
    assert "| 65536, 64, 1024 | fp32 | 34.3 | 17.6 | 1.1 | 51.1 | 104.1 |" in text


def test_with_a_gpu_predictions_stand_beside_what_was_measured(tmp_path: Path) -> None:
    text = report.render([gpu_record(2.0)], results(tmp_path))
    assert "unmeasured" not in text
    assert text.count("| 0.50× |") == 3
    assert "Median absolute relative error of the prediction over 3 cases: 50%." in text
    assert "| 65536, 64, 1024 | fp32 | 34.3 | 17.6 | 1.1 | 51.1 | 104.1 |" in text


def test_the_error_is_a_median_over_sweeps_too() -> None:
    good = gpu_record(1.0)
    sweep = [
        entry("sweep", case, microseconds("sweep", case) / 4e3)
        for case in along(BASE, range(10, 14), range(0), range(0))
    ]
    text = gpu_comparison(good | {"cases": good["cases"] + sweep}, EVIDENCE)
    assert "over 7 cases: 300%" in text[-1]  # four of seven are predicted four times too long
    assert len(text[1].splitlines()) == 2 + 3  # which the table leaves out


def test_what_the_model_does_not_know_is_left_out() -> None:
    assert gpu_comparison(gpu_record(1.0) | {"device": "some other GPU"}, EVIDENCE) == []
    assert gpu_comparison(gpu_record(1.0), NONE) == []
    assert unmeasured("H100", NONE) == []
    only = record(H100, "cuda", [entry("step", BASE, 1.0) | {"kind": "mixture"}])
    assert gpu_comparison(only, EVIDENCE) == []


def test_a_model_of_a_cpu() -> None:
    """The faster product does 2^26 multiply-adds in 2 ms; so D + 2 = 66 of them take 66 / 32 ms a 2^20 pairs."""
    cases = [entry("search", Case(1024, 64, 1024), 2.5), entry("search", Case(1024, 8, 1024), 1.25)]
    text, rows, error = cpu_comparison(record("Some CPU", "cpu", cases))
    assert "N·K·(D + 2)" in text
    assert "| 1024, 64, 1024 | fp32 | 2.00 | 2.06 | 2.50 | 0.82× |" in rows
    assert "| 1024, 8, 1024 | fp32 | 1.00 | 0.312 | 1.25 | 0.25× |" in rows
    assert error == "Median absolute relative error of the prediction over 2 cases: 46%."


def test_a_cpu_without_a_bare_product_has_no_model() -> None:
    bare = entry("search", BASE, 1.0)
    del bare["providers"]["mm into place"]
    assert cpu_comparison(record("Some CPU", "cpu", [bare])) == []


def test_plots_are_drawn_small_and_alike(tmp_path: Path) -> None:
    cases = [
        entry("search", BASE, 1.0),
        entry("step", BASE, 2.0),
        memory("search", BASE, {"aevae_fast": 12.0, "cdist + argmin": 4183.0}),
        *(entry("sweep", case, case.rows * case.codes * case.dim / 1e8) for case in SWEEP["smoke"]),
    ]
    found = plots(record("Some CPU", "cpu", cases), NONE)
    assert [plot.file.removeprefix("benchmarks-cpu-some-cpu-") for plot in found] == [
        "sweep.png",
        "peers.png",
        "memory.png",
    ]
    for plot in found:
        assert not plot.is_in(tmp_path)
        for folder in ("a", "b"):
            plot.write(tmp_path / folder)
            assert plot.is_in(tmp_path / folder)
        first, second = ((tmp_path / folder / plot.file).read_bytes() for folder in ("a", "b"))
        assert first == second
        assert len(first) < 100_000
        with Image.open(tmp_path / "a" / plot.file) as picture:
            assert min(picture.size) > 100
            assert picture.info.keys() <= {"Numbers", "dpi"}
    changed = plots(record("Some CPU", "cpu", [entry("search", BASE, 1.5)]), NONE)
    assert [plot.file for plot in changed] == [found[1].file]  # no sweep, no memory: no such plot
    assert not changed[0].is_in(tmp_path / "a")


def test_a_gpu_s_sweep_is_drawn_with_the_model(tmp_path: Path) -> None:
    sweep = [entry("sweep", case, microseconds("sweep", case) / 1e3, floor=0.005) for case in SWEEP["smoke"]]
    with_model, without = (plots(record(name, "cuda", sweep), EVIDENCE)[0] for name in (H100, "some other GPU"))
    assert with_model.numbers[1][0] == pytest.approx(microseconds("sweep", SWEEP["smoke"][0]) / 1e3)
    assert set(without.numbers[1]) == {None}
    with_model.write(tmp_path)
    assert with_model.is_in(tmp_path)


def test_series_along_one_size() -> None:
    entries = [entry("sweep", case, 1.0) for case in along(BASE, range(14, 18), range(5, 8), range(10, 12))]
    assert [each["rows"] for each in series(entries, "rows")] == [1 << power for power in range(14, 18)]
    assert [each["dim"] for each in series(entries, "dim")] == [32, 64, 128]
    assert series(entries, "codes") == []  # two points are no line
    assert floor(entries[0]) == 0.8
    assert floor(entries[0] | {"floor": 0.25}) == 0.25


def test_a_plot_that_is_out_of_date_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = results(tmp_path / "results", record("Some CPU", "cpu", [entry("search", BASE, 1.0)]))
    readme = tmp_path / "README.md"
    readme.write_text(f"{report.BEGIN}\n{report.END}\n", encoding="utf-8")
    arguments = ["--readme", str(readme), "--results", str(folder), "--docs", str(tmp_path / "docs")]
    assert report.main([*arguments, "--check"]) == 1
    assert "README.md, benchmarks-cpu-some-cpu-peers.png" in capsys.readouterr().err
    assert report.main(arguments) == 0
    assert report.main([*arguments, "--check"]) == 0
    (picture,) = (tmp_path / "docs").iterdir()
    assert f"](docs/{picture.name})" in readme.read_text(encoding="utf-8")
    results(folder, record("Some CPU", "cpu", [entry("search", BASE, 2.0) | {"skipped": {"other": "absent"}}]))
    assert report.main([*arguments, "--check"]) == 1
