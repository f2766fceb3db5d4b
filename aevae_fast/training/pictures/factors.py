"""Pictures of what codes tell of known factors."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from aevae_fast.metrics.disentanglement import MutualInformationGap

from .canvas import FONT, INK

_LITTLE = 0.05  # a code that tells less than this share of every factor goes to the end
_MANY = 40  # codes from which numbers in the cells would be too small to read


def draw_information(gap: MutualInformationGap, factor_names: Sequence[str]) -> Figure:
    """A heat map, a row a code and a column a factor: I(code; factor) / H(factor).

    Codes stand in the order of the factor that they tell most of, the one that tells most first; those that tell next
    to nothing come last.

    Args:
        gap: holds the information and the entropies.
        factor_names: one a column.
    """
    share = np.array(gap.information) / np.array(gap.entropies)
    told = share.max(1)
    order = np.lexsort((-told, np.where(told < _LITTLE, share.shape[1], share.argmax(1))))
    share = share[order]
    codes, factors = share.shape
    height = min(0.34, 12 / codes) * codes
    figure = Figure(figsize=(0.95 * factors + 2.4, height + 1.5), layout="constrained")
    axes = figure.add_subplot()
    shown = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    if codes <= _MANY:
        for row, column in np.ndindex(share.shape):
            value = share[row, column]
            colour = "white" if value > 0.55 else INK
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=FONT - 2, color=colour)
        axes.set_yticks(range(codes), [f"z{code}" for code in order])
    else:
        step = math.ceil(codes / _MANY)
        axes.set_yticks(range(0, codes, step), [f"z{code}" for code in order[::step]])
    labels = [f"{name}\ngap {value:.2f}" for name, value in zip(factor_names, gap.gaps, strict=True)]
    axes.set_xticks(range(factors), labels)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=FONT - 1, colors=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xticks(np.arange(factors - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(codes - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", lw=1.5)
    axes.tick_params(which="minor", length=0)
    bar = figure.colorbar(shown, ax=axes, shrink=min(1.0, 3 / (height + 0.1)), aspect=14)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=FONT - 2, colors=INK)
    figure.suptitle(f"Share of each factor that a code tells; MIG {gap.score:.2f}", fontsize=FONT + 1, color=INK)
    return figure
