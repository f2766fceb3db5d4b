"""A hundred million rows through the certified search, random and adversarial: how many indices are wrong?

    python -m benchmarks.certificate [--rows 100000000] [--minutes 30] [--out benchmarks/results/certificate.json]

Both searches take every row: the sweep of the GPU, emulated, and `nearest_code` as a CPU has it; float64 judges.
Codebooks are drawn anew for each batch. Interrupted, it goes on where it stopped.

    mismatches: rows whose code is not the float64 argmin; a wrong one is off by more than float32's own rounding.
    blind: rows where it is because squares of differences under- or overflow float32, which the GPU compares in.
    first sweep, second sweep: rows by the verdict of each; one alone where D is not between 33 and 64.
    narrowed: rows swept again to find their groups within reach, where D and K are large.
    worst: the largest gap that is neither, in units of that rounding.
    bound: the largest error of the product, as a share of the bound it is certified by, of some rows of each batch; of
        both sweeps where there are two.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from aevae_fast.functional import nearest_code

from ..environment import environment
from ..record import RESULTS
from .bound import error_share
from .codes import prepare
from .kinds import KINDS, drawn
from .rescan import search
from .scheme import scheme_for
from .shares import shares
from .sweep import VERDICTS, WIDE
from .truth import Truth

_LARGE = (
    (64, 1024, 1 << 15),
    (256, 4096, 1 << 12),
    (8, 16384, 1 << 13),
    (144, 4096, 1 << 12),
)  # D, K, rows: once for each kind
_TURN = [name for name, (_, _, often) in KINDS.items() for _ in range(often)]
_DIMS = (1, 2, 2, 3, 3, 4, 4, 5, 6, 8, 8, 12, 16)  # of most rows, few so that there can be many
_SAMPLE = 32  # rows of a batch whose product is held against its bound


def draw(number: int) -> tuple[str, int, int, int]:
    """Kind, rows, K and D of a batch."""
    if number < len(_LARGE) * len(KINDS):
        dim, size, rows = _LARGE[number % len(_LARGE)]
        return list(KINDS)[number // len(_LARGE)], rows, size, dim
    g = Generator().manual_seed(number)
    name = _TURN[number % len(_TURN)]
    if torch.rand(1, generator=g) < 0.1:  # several tiles
        dim, size = (int(torch.randint(*bounds, (1,), generator=g)) for bounds in ((2, 80), (257, 900)))
        return name, 1 << 13, size, dim
    dim, size = _DIMS[int(torch.randint(len(_DIMS), (1,), generator=g))], int(16 * 16.0 ** torch.rand(1, generator=g))
    return name, min(1 << 17, (1 << 26) // (dim * max(size, 128))), size, dim


def batch(number: int) -> dict[str, Any]:
    name, n, size, dim = draw(number)
    x, codebook, metric = drawn(name, n, size, dim, number)
    codes = prepare(codebook, metric, scheme_for(dim))
    gpu = search(x, codes)
    cpu = nearest_code(x, codebook, metric=metric, impl="portable")
    judged = Truth(codebook, metric).judge(x, gpu.code, cpu)
    swept = (codes, codes.again) if codes.again else (codes,)
    return {
        "rows": n,
        "bound": max(error_share(x[:: n // _SAMPLE], columns) for columns in swept),
        **_count(gpu.kind),
        "first sweep": _count(gpu.first),
        "second sweep": _count(gpu.kind[gpu.again]),
        "narrowed": int((gpu.kind == WIDE).sum()) if codes.narrows else 0,
        **{who: found._asdict() for who, found in zip(("gpu", "cpu"), judged, strict=True)},
    }


def _count(kind: Tensor) -> dict[str, int]:
    return dict(zip(VERDICTS, torch.bincount(kind, minlength=len(VERDICTS)).tolist(), strict=True))


def merge(into: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Counts add up; "worst" and "bound" are maxima."""
    merged = dict(into)
    for key, value in more.items():
        if isinstance(value, dict):
            merged[key] = merge(into.get(key, {}), value)
        else:
            merged[key] = max(into.get(key, 0.0), value) if key in ("worst", "bound") else into.get(key, 0) + value
    return merged


def certify(rows: int, state: Path, minutes: float = float("inf")) -> dict[str, Any]:
    """Batches until so many rows are through, or minutes over: {"all": …, "kinds": {kind: …}}, beside the environment
    it began in."""
    found: dict[str, Any] = {"batches": 0, "all": {}, "kinds": {}}
    if state.exists():
        found = json.loads(state.read_text())
    else:
        found = {**environment(torch.device("cpu"), os.getloadavg()[0]), **found}
    begin, told, before = time.monotonic(), 0.0, found["all"].get("rows", 0)
    while found["all"].get("rows", 0) < rows and time.monotonic() - begin < 60 * minutes:
        number = found["batches"]
        result = batch(number)
        name = draw(number)[0]
        for who in ("gpu", "cpu"):
            if result[who]["wrong"]:
                print(f"WRONG: batch {number}, {draw(number)}: {who} {result[who]}", flush=True)
        if result["bound"] > 1:
            print(f"BOUND VIOLATED: batch {number}, {draw(number)}: {result['bound']}", flush=True)
        found["all"] = merge(found["all"], result)
        found["kinds"][name] = merge(found["kinds"].get(name, {}), result)
        found["batches"] += 1
        elapsed = time.monotonic() - begin
        if elapsed - told > 20:
            told = elapsed
            state.write_text(json.dumps(found))
            print(
                f"{found['all']['rows']:,} rows, {(found['all']['rows'] - before) / elapsed:,.0f} a second", flush=True
            )
    state.write_text(json.dumps(found))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="the record says how many rows were reached"
    )
    parser.add_argument("--share-rows", type=int, default=8192)
    parser.add_argument("--out", type=Path, default=RESULTS / "certificate.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    state = options.out.with_suffix(".json.part")
    record = certify(options.rows, state, options.minutes)
    record["shares"] = []
    for entry in shares(options.share_rows):
        record["shares"].append(entry)
        print(entry, flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    state.unlink()
    print(json.dumps(record["all"], indent=1))


if __name__ == "__main__":
    main()
