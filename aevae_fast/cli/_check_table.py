"""How the outcome of `aevae-fast check` looks."""

import itertools
from collections.abc import Sequence

import torch
from rich import box
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from ._cases import DTYPES
from ._result import Result

_COLUMNS: dict[str, JustifyMethod] = {
    "operation": "left",
    "dtype": "left",
    "cases": "right",
    "error": "right",
    "indices": "right",
    "wrong": "right",
    "time": "right",
    "": "left",
}
_NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
_SHOWN = 5  # failures spelled out


def result_table(results: Sequence[Result], device: torch.device, impl: str | None) -> Table:
    """One line for each operation and dtype."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    title = f"aevae_fast on {name}" + (f", impl={impl!r}" if impl else "") + ", against the float64 reference"
    table = Table(
        title=title, title_justify="left", title_style="bold", caption_justify="left", box=box.SIMPLE, pad_edge=False
    )
    table.caption = (
        "error: the largest, in units of what is allowed: the reference's own error in the same dtype plus the "
        "rounding of the result. indices: how many differ from float64's; wrong: how many of them beyond float32's "
        "own rounding of the two distances."
    )
    for heading, side in _COLUMNS.items():
        table.add_column(heading, justify=side, no_wrap=True)
    previous = None
    operations = list(dict.fromkeys(result.operation for result in results))
    for operation, dtype in itertools.product(operations, DTYPES):
        group = [result for result in results if (result.operation, result.case.dtype) == (operation, dtype)]
        if not group:
            continue
        searched = any(result.wrong is not None for result in group)
        table.add_row(
            operation if operation != previous else "",
            _NAMES[dtype],
            str(len(group)),
            "" if all(result.error is None for result in group) else f"{max(r.error or 0.0 for r in group):.2f}",
            str(sum(result.differing or 0 for result in group)) if searched else "",
            str(sum(result.wrong or 0 for result in group)) if searched else "",
            f"{sum(result.seconds for result in group):.1f} s",
            Text("ok", "green") if all(result.passed for result in group) else Text("WRONG", "bold red"),
        )
        previous = operation
    return table


def verdict(results: Sequence[Result]) -> Text:
    """A last line in words, failures by name."""
    failed = [result for result in results if not result.passed]
    if not failed:
        return Text(f"All {len(results)} cases are right.", "green")
    lines = [f"{len(failed)} of {len(results)} cases are wrong:"]
    lines += [f"  {result.operation.strip()}: {result.case}" for result in failed[:_SHOWN]]
    lines += [f"  … and {len(failed) - _SHOWN} more"] if len(failed) > _SHOWN else []
    return Text("\n".join(lines), "red")
