"""Pictures of the health of a quantizer's stages."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from aevae_fast.metrics import UsageReport

from .canvas import FONT, INK, curve, over_steps, plain, plain_numbers, shades

_TITLES = {
    "usage": "Codes alive (%)",
    "perplexity": "Perplexity",
    "dead_codes": "Dead codes",
    "residual_energy": "Energy left after the stage",
}
_FEW = 10  # stages that the legend can name one by one


def draw_stage_health(history: dict[str, list], title: str) -> Figure:
    """Usage, perplexity, dead codes and residual energy over the steps, a line a stage.

    Args:
        history: of one quantizer, as `QuantizerHealth.history` has it.
        title: headline.
    """
    measures = [name for name in _TITLES if np.isfinite(np.array(history[name], dtype=float)).any()]
    figure = Figure(figsize=(3.1 * len(measures) + 0.6, 3.3), layout="constrained")
    figure.suptitle(title, fontsize=FONT + 2, color=INK)
    stages = len(history[measures[0]][0])
    for axes, name in zip(figure.subplots(1, len(measures), squeeze=False)[0], measures, strict=True):
        values = np.array(history[name], dtype=float) * (100 if name == "usage" else 1)  # [looks, stages]
        for stage, colour in enumerate(shades(stages)):
            there = np.isfinite(values[:, stage])
            steps = np.array(history["step"])[there].tolist()
            label = f"stage {stage + 1}" if stages <= _FEW or stage in (0, stages - 1) else None
            curve(axes, steps, values[there, stage].tolist(), colour, label, smooth=name == "residual_energy")
        over_steps(axes, _TITLES[name])
        if name == "residual_energy":
            plain_numbers(axes)
        else:
            axes.set_ylim(0, 103 if name == "usage" else max(1.0, 1.05 * np.nanmax(values)))
    if stages > 1:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=FONT - 1)
    return figure


def draw_stage_usage(usages: Sequence[UsageReport], title: str) -> Figure:
    """How often each stage's codes are chosen, most used first."""
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for number, (usage, colour) in enumerate(zip(usages, shades(len(usages)), strict=True), 1):
        share = (usage.counts.double() / usage.counts.sum().clamp(min=1)).sort(descending=True).values.cpu() * 100
        label = f"stage {number}: {len(share) - usage.dead_codes} used, perplexity {usage.perplexity:.0f}"
        axes.step(range(1, len(share) + 1), share.where(share > 0, np.nan), color=colour, lw=1.5, label=label)
    plain_numbers(axes)
    axes.set_xlim(0, max(len(usage.counts) for usage in usages))
    axes.set_xlabel("codes of a stage, most used first", color=INK)
    axes.set_ylabel("share of positions (%)", color=INK)
    axes.set_title(title, fontsize=FONT + 2, color=INK)
    plain(axes)
    axes.legend(frameon=False, fontsize=FONT - 2, bbox_to_anchor=(1.0, 1.0), loc="upper left")
    return figure
