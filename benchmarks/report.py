"""The tables and plots of README, made from the records and from nothing else.

python -m benchmarks.report            rewrites README between its two markers, and the plots in docs/
python -m benchmarks.report --check    exits 1 where README or a plot and the records differ
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from .compile_table import compile_tables
from .evidence import Evidence, read_evidence
from .plots import DOCS, Plot, plots
from .predictions import cpu_comparison, gpu_comparison, step_traffic, unmeasured
from .record import OURS, RESULTS, origin, read_records
from .tables import digits, header, sizes, table
from .training_table import vae_training, vq_training

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
_PREDICTED = "H100"  # while no GPU was measured
_TITLES = {
    "search": "Nearest code",
    "open search": "Nearest code where no row is certified: two clusters far apart, each small",
    "step": "Training step: forward, backward, EMA update",
    "cosine search": "Nearest code by cosine",
    "residual step": "Training step of a residual quantizer, Q stages",
    "residual forward": "Forward of a residual quantizer, Q stages",
    "latent": "Training step of the Gaussian bottleneck: sample and KL, backward",
    "mixture": "Training step of a Gaussian mixture's log-density and its marginals",
    "fsq": "Training step of finite scalar quantization, levels 8-8-8-5-5-5",
    "lfq": "Training step of lookup-free quantization with its entropy loss, D bits",
}
_MEMORY = {
    "search memory": "nearest code",
    "step memory": "training step",
    "latent memory": "Gaussian bottleneck, training step",
    "mixture memory": "Gaussian mixture, training step",
    "fsq memory": "finite scalar quantization, training step",
    "lfq memory": "lookup-free quantization, training step",
    "residual step memory": "residual quantizer, training step",
}


def render(records: list[dict[str, Any]], folder: Path | None = None) -> str:
    """Markdown for these records and for the other reports in `folder`."""
    evidence = read_evidence(folder) if folder else Evidence({})
    parts = [part for record in records for part in _sections(record, evidence)]
    if evidence.targets:
        measured = any(record["type"] == "cuda" for record in records)
        parts += [*([] if measured else unmeasured(_PREDICTED, evidence)), *step_traffic()]
    if folder:
        parts += [*vq_training(folder), *vae_training(folder), *_compiled(folder)]
    return "\n\n".join(parts)


def _sections(record: dict[str, Any], evidence: Evidence) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items() if version)
    parts = [f"### {record['device']}", f"{versions}; {origin(record)}"]
    for kind, title in _TITLES.items():
        entries = [entry for entry in record["cases"] if entry["kind"] == kind]
        if entries:
            parts.append(f"**{title}**, milliseconds, and in brackets how long ours takes beside it")
            parts.append(_time_table(entries))
    memory = [entry for entry in record["cases"] if entry["kind"] in _MEMORY]
    if memory:
        parts += ["**Peak memory** beyond the inputs, MiB", _memory_table(memory)]
    parts += gpu_comparison(record, evidence) if record["type"] == "cuda" else cpu_comparison(record)
    for plot in plots(record, evidence):
        parts += [f"**{plot.caption}**", f"![{plot.caption}](docs/{plot.file})"]
    return parts


def _compiled(folder: Path) -> list[str]:
    """What search and Gaussian bottleneck cost on GPUs that were not there, from `benchmarks.compile_report`."""
    file = folder / "compile_report.json"
    if not file.is_file():
        return []
    record = json.loads(file.read_text(encoding="utf-8"))
    text = f"Instructions, counted in the machine code (Triton {record['triton']})"
    tables = [part for title, rows in compile_tables(record) for part in (title, table(rows))]
    return ["### Kernels, compiled for GPUs that were not there", text, *tables]


def _names(entries: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for entry in entries for name in entry["providers"]))


def _time_table(entries: list[dict[str, Any]]) -> str:
    names = _names(entries)
    floor = any("floor" in entry for entry in entries)
    rows = [[header(entries[0]), "input", *(["floor"] if floor else []), *names]]
    for entry in entries:
        cells = [_time(entry["providers"].get(name), name) for name in names]
        bound = [f"{digits(entry['floor'])} ({entry['ours_over_floor']:.2f}×)" if "floor" in entry else "-"]
        rows.append([sizes(entry), entry["dtype"], *(bound if floor else []), *cells])
    return table(rows)


def _memory_table(entries: list[dict[str, Any]]) -> str:
    names = _names(entries)
    staged = any("stages" in entry for entry in entries)
    rows = [["", "N, D (, K (, Q))" if staged else "N, D (, K)", *names]]
    for entry in entries:
        used = [entry["providers"].get(name) for name in names]
        rows.append([_MEMORY[entry["kind"]], sizes(entry), *("-" if mib is None else f"{mib:.0f}" for mib in used)])
    return table(rows)


def _time(measured: dict[str, float] | None, name: str) -> str:
    if measured is None:
        return "-"
    value = digits(measured["median"])
    return f"**{value}**" if name == OURS else f"{value} ({measured['ours_over']:.2f}×)"


def updated(readme: str, records: list[dict[str, Any]], folder: Path | None = None) -> str:
    """`readme` with what is between its markers replaced.

    Raises:
        ValueError: the markers are not there, once each and in order.
    """
    head, begin, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end) or BEGIN in tail or END in tail:
        raise ValueError(f"README must hold {BEGIN} and then {END}, once each")
    return f"{head}{BEGIN}\n\n{render(records, folder)}\n\n{END}{tail}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where something is out of date")
    parser.add_argument("--readme", type=Path, default=README)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--docs", type=Path, default=DOCS)
    options = parser.parse_args(arguments)
    records = read_records(options.results)
    before = options.readme.read_text(encoding="utf-8")
    after = updated(before, records, options.results)
    pictures = _pictures(records, options.results)
    if options.check:
        stale = [] if before == after else [options.readme.name]
        stale += [plot.file for plot in pictures if not plot.is_in(options.docs)]
        if stale:
            print(f"out of date: {', '.join(stale)}. Run python -m benchmarks.report", file=sys.stderr)
        return int(bool(stale))
    for plot in pictures:
        plot.write(options.docs)
    options.readme.write_text(after, encoding="utf-8")
    return 0


def _pictures(records: list[dict[str, Any]], folder: Path) -> list[Plot]:
    evidence = read_evidence(folder)
    return [plot for record in records for plot in plots(record, evidence)]


if __name__ == "__main__":
    sys.exit(main())
