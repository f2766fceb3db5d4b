"""The tables of README, written from the records and from nothing else.

python -m benchmarks.report            rewrites README between its two markers
python -m benchmarks.report --check    exits 1 where README and the records differ
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from .compile_table import compile_tables
from .measure import OURS
from .record import RESULTS, origin, read_records

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
_TITLES = {
    "search": "Nearest code",
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
    parts = [part for record in records for part in _sections(record)]
    return "\n\n".join([*parts, *_training(folder), *_vae(folder), *_compiled(folder)] if folder else parts)


def _sections(record: dict[str, Any]) -> list[str]:
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
    return parts


def _training(folder: Path) -> list[str]:
    """Mean and spread over seeds of the same model with different quantizers, from `benchmarks.training_quality`."""
    file = folder / "training_quality.json"
    if not file.is_file():
        return []
    record = json.loads(file.read_text(encoding="utf-8"))
    settings = record["settings"]
    title = f"### Training: a VQ-VAE on {settings['data']}, {settings['steps']} steps, {settings['seeds']} seeds"
    rows = [["quantizer", "held-out error / variance", "perplexity", "dead codes in training"]]
    for name, layer in record["layers"].items():
        figures = [layer["held_out"]["nmse"], layer["held_out"]["perplexity"], layer["train"]["dead_codes"]]
        cells = (f"{f['mean']:.{n}f} ± {f['std']:.{n}f}" for f, n in zip(figures, (4, 0, 0), strict=True))
        rows.append([name, *cells])
    return [title, f"{record['device']}, {origin(record)}", _table(rows)]


def _vae(folder: Path) -> list[str]:
    """Mean and spread over seeds of a VAE on our layer and in plain PyTorch, from `benchmarks.vae_quality`."""
    file = folder / "vae_quality.json"
    if not file.is_file():
        return []
    record = json.loads(file.read_text(encoding="utf-8"))
    settings = record["settings"]
    title = f"### Training: a VAE on {settings['data']}, {settings['steps']} steps, {settings['seeds']} seeds"
    network = "-".join(map(str, settings["network"]))
    text = (
        f"{record['device']}, {origin(record)} Network {network}; nats an image, held out; log p(x) by importance "
        f"sampling with {settings['samples']} samples"
    )
    rows = [["", "ELBO", "KL", "log p(x)"]]
    for name, model in record["models"].items():
        figures = (model["held_out"][figure] for figure in ("elbo", "kl", "log_likelihood"))
        rows.append([name, *(f"{f['mean']:.2f} ± {f['std']:.2f}" for f in figures)])
    return [title, text, _table(rows)]


def _compiled(folder: Path) -> list[str]:
    """What search and Gaussian bottleneck cost on GPUs that were not there, from `benchmarks.compile_report`."""
    file = folder / "compile_report.json"
    if not file.is_file():
        return []
    record = json.loads(file.read_text(encoding="utf-8"))
    text = f"Instructions, counted in the machine code (Triton {record['triton']})"
    tables = [part for title, rows in compile_tables(record) for part in (title, _table(rows))]
    return ["### Kernels, compiled for GPUs that were not there", text, *tables]


def _names(entries: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for entry in entries for name in entry["providers"]))


def _time_table(entries: list[dict[str, Any]]) -> str:
    names = _names(entries)
    floor = any("floor" in entry for entry in entries)
    rows = [
        [
            _header(entries[0]),
            "input",
            *(["floor"] if floor else []),
            *names,
        ]
    ]
    for entry in entries:
        cells = [_time(entry["providers"].get(name), name) for name in names]
        bound = [f"{_digits(entry['floor'])} ({entry['ours_over_floor']:.2f}×)" if "floor" in entry else "-"]
        rows.append([_sizes(entry), entry["dtype"], *(bound if floor else []), *cells])
    return _table(rows)


def _memory_table(entries: list[dict[str, Any]]) -> str:
    names = _names(entries)
    staged = any("stages" in entry for entry in entries)
    rows = [["", "N, D (, K (, Q))" if staged else "N, D (, K)", *names]]
    for entry in entries:
        used = [entry["providers"].get(name) for name in names]
        rows.append([_MEMORY[entry["kind"]], _sizes(entry), *("-" if mib is None else f"{mib:.0f}" for mib in used)])
    return _table(rows)


def _time(measured: dict[str, float] | None, name: str) -> str:
    if measured is None:
        return "-"
    value = _digits(measured["median"])
    return f"**{value}**" if name == OURS else f"{value} ({measured['ours_over']:.2f}×)"


def _digits(milliseconds: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{milliseconds:.0f}" if milliseconds >= 100 else f"{milliseconds:#.3g}"


def _header(entry: dict[str, Any]) -> str:
    if "stages" in entry:
        return "N, D, K, Q"
    return "N, D, K" if {"codes", "components"} & entry.keys() else "N, D"


def _sizes(entry: dict[str, Any]) -> str:
    return ", ".join(str(entry[size]) for size in ("rows", "dim", "codes", "components", "stages") if size in entry)


def _table(rows: list[list[str]]) -> str:
    rule = ["---", *("---:" for _ in rows[0][1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (rows[0], rule, *rows[1:]))


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
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where README is out of date")
    parser.add_argument("--readme", type=Path, default=README)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    before = options.readme.read_text(encoding="utf-8")
    after = updated(before, read_records(options.results), options.results)
    if options.check:
        if before != after:
            print("README does not show what the records hold: python -m benchmarks.report", file=sys.stderr)
        return int(before != after)
    options.readme.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
