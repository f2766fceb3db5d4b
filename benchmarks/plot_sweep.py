"""The plot of searches along N, D and K: time above, and below it how far that is from the floor."""

from collections.abc import Callable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .plot_style import FONT, INK, Family, decades, family, legend, plain, short
from .record import OURS, YARDSTICK

Entry = dict[str, Any]
_AXES = {"rows": "N", "dim": "D", "codes": "K"}
_LEAST_POINTS = 3
_DASHED = (0, (4, 2))


def series(entries: list[Entry], size: str) -> list[Entry]:
    """The most entries that differ in that size alone, in its order; nothing where they are fewer than three."""
    groups: dict[tuple[Any, ...], list[Entry]] = {}
    for entry in entries:
        fixed = tuple(entry[other] for other in (*_AXES, "dtype") if other != size)
        groups.setdefault(fixed, []).append(entry)
    longest = max(groups.values(), key=len, default=[])
    return sorted(longest, key=lambda entry: entry[size]) if len(longest) >= _LEAST_POINTS else []


def floor(entry: Entry) -> float | None:
    """Milliseconds: of the device's peak rates, or on a CPU of the bare product."""
    measured = entry["providers"].get(YARDSTICK, {}).get("median")
    return entry.get("floor", measured)


def draw_sweep(entries: list[Entry], predicted: Callable[[Entry], float | None]) -> Figure:
    """`predicted`: milliseconds of ours by the cost model, None where it has nothing to say."""
    along = {size: found for size in _AXES if (found := series(entries, size))}
    figure = Figure(figsize=(3.4 * len(along) + 0.8, 5.6), layout="constrained")
    grid = figure.subplots(2, len(along), squeeze=False, sharex="col", sharey="row")
    shown: list[Family] = []
    modelled = False
    for column, (size, found) in enumerate(along.items()):
        times, ratios = grid[0][column], grid[1][column]
        for name in dict.fromkeys(name for entry in found for name in entry["providers"]):
            points = [(e[size], e["providers"][name]["median"], floor(e)) for e in found if name in e["providers"]]
            shown.append(family(name))
            _line(times, name, [(at, ms) for at, ms, _ in points])
            if name != YARDSTICK or "floor" in found[0]:
                _line(ratios, name, [(at, ms / least) for at, ms, least in points if least])
        model = [(entry[size], ms) for entry in found if (ms := predicted(entry)) is not None]
        modelled |= bool(model)
        times.plot(*_columns(model), color=INK, ls=_DASHED, lw=1.2)
        ratios.axhline(1, color=INK, lw=1)
        fixed = ", ".join(f"{name} = {found[0][other]}" for other, name in _AXES.items() if other != size)
        times.set_title(f"{fixed}, {found[0]['dtype']}", fontsize=FONT, color=INK)
        ratios.set_xlabel(_AXES[size], fontsize=FONT, color=INK)
        _scale(times, [entry[size] for entry in found])
        _scale(ratios, [entry[size] for entry in found])
    for row in grid:  # which share their axis
        decades(row[0].yaxis, [value for axes in row for line in axes.lines for value in line.get_ydata()])
    grid[0][0].set_ylabel("milliseconds", fontsize=FONT, color=INK)
    grid[1][0].set_ylabel("time over the floor", fontsize=FONT, color=INK)
    more = (Line2D([], [], color=INK, ls=_DASHED, lw=1.2, label="cost model of aevae_fast"),) if modelled else ()
    legend(figure, shown, lines=True, more=more)
    return figure


def _line(axes: Axes, name: str, points: list[tuple[int, float]]) -> None:
    style = family(name)
    bare = name == YARDSTICK
    width, dash = (1.0, ":") if bare else (1.6, "-")
    order = 3 if name == OURS else 2
    axes.plot(*_columns(points), color=style.colour, marker=style.marker, ms=4.5, lw=width, ls=dash, zorder=order)


def _columns(points: list[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [at for at, _ in points], [value for _, value in points]


def _scale(axes: Axes, at: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    labelled = at[:: 1 if len(at) <= 8 else 2]
    axes.set_xticks(labelled, [short(value) for value in labelled])
    axes.tick_params(axis="x", which="minor", bottom=False)
    plain(axes, "y")
