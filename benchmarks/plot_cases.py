"""Plots with a line of dots a case: how long others take, and how much memory each needs."""

from typing import Any

from matplotlib.figure import Figure

from .plot_style import FONT, INK, Family, decades, family, legend, plain, variant
from .record import OURS
from .tables import sizes

_LEAST_MIB = 0.1  # the record's resolution


def draw_peers(entries: list[dict[str, Any]], titles: dict[str, str]) -> Figure:
    """Time of each provider over ours: right of the line ours is faster."""
    rows = []
    for entry in entries:
        others = {name: measured for name, measured in entry["providers"].items() if name != OURS}
        ours = entry["providers"][OURS]["median"]
        dots = [(name, _over(each, ours)) for name, each in others.items()]
        rows.append((_label(entry, titles), dots))
    figure = _dots(rows, "time over ours", "×")
    figure.axes[0].axvline(1, color=family(OURS).colour, lw=1.5, zorder=1)
    return figure


def _over(measured: dict[str, float], ours: float) -> float:
    """Time over ours in the rounds that both took part in; over all of them where the record rounds that to nothing."""
    return 1 / measured["ours_over"] if measured["ours_over"] else measured["median"] / ours


def draw_memory(entries: list[dict[str, Any]], titles: dict[str, str]) -> Figure:
    """Peak of each provider beyond the inputs."""
    rows = [
        (_label(entry, titles), [(name, max(mib, _LEAST_MIB)) for name, mib in entry["providers"].items()])
        for entry in entries
    ]
    return _dots(rows, "peak memory beyond the inputs, MiB")


def _label(entry: dict[str, Any], titles: dict[str, str]) -> str:
    return f"{titles[entry['kind']]}   {sizes(entry)}   {entry['dtype']}"


def _dots(rows: list[tuple[str, list[tuple[str, float]]]], label: str, suffix: str = "") -> Figure:
    """A line a row, on a logarithmic axis; what a family holds more than once is there more than once."""
    figure = Figure(figsize=(9, 1.4 + 0.28 * len(rows)), layout="constrained")
    axes = figure.subplots()
    shown: list[Family] = []
    for place, (_, dots) in enumerate(rows):
        if dots:
            values = [value for _, value in dots]
            axes.hlines(place, min(values), max(values), color="#e5e7eb", lw=1.2, zorder=1)
        for name, value in dots:
            style = family(name)
            shown.append(style)
            face = "white" if variant(name) else style.colour
            size = 9 if style.marker == "|" else 6
            axes.plot(
                value, place, marker=style.marker, color=style.colour, mfc=face, ms=size, mew=1.4, ls="", zorder=3
            )
    axes.set_xscale("log")
    decades(axes.xaxis, [value for _, dots in rows for _, value in dots], suffix)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel(label, color=INK, fontsize=FONT)
    plain(axes, "x")
    legend(figure, shown)
    return figure
