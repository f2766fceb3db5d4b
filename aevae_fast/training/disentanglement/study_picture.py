"""The picture of the study: each measure against β, and against what reconstruction costs."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..pictures.canvas import BLUE, FONT, INK, ORANGE, plain
from .findings import MEASURES, column, mean

_KINDS = {"beta-vae": ("β-VAE", BLUE, "o"), "beta-tcvae": ("β-TCVAE", ORANGE, "s")}


def draw_study(metrics: dict[str, Any]) -> Figure:
    """A measure a column; above against β, below against the reconstruction loss. A dot is a model, a line the mean of
    the seeds; both lines begin at the VAE."""
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    models = list(metrics["models"].values())
    for column_of_axes, (measure, name) in zip(figure.subplots(2, 3).T, MEASURES.items(), strict=True):
        for axes, across in zip(column_of_axes, ("beta", "reconstruction_loss"), strict=True):
            _draw(axes, models, across, measure)
            plain(axes)
            axes.set_ylim(0, max(1.05 * axes.get_ylim()[1], 0.1))
        above, below = column_of_axes
        above.set_title(name, fontsize=FONT + 2, color=INK)
        above.set_xscale("log", base=2)
        betas = sorted({model["beta"] for model in models})
        above.set_xticks(betas, [f"{beta:g}" for beta in betas])
        above.minorticks_off()
        above.set_xlabel("β (1 is the VAE)", color=INK)
        below.xaxis.set_major_locator(MaxNLocator(5))
        below.set_xlabel("reconstruction loss, nats a held-out image", color=INK)
    figure.axes[0].legend(frameon=False, fontsize=FONT - 1)
    return figure


def _draw(axes: Axes, models: list[dict[str, Any]], across: str, measure: str) -> None:
    """Dots of each model's seeds, pale, a line through the means of each kind, and the VAE where both begin."""
    (vae,) = (model for model in models if model["kind"] == "vae")
    for kind, (label, colour, marker) in _KINDS.items():
        others = sorted((model for model in models if model["kind"] == kind), key=lambda model: model["beta"])
        _dots(axes, others, across, measure, colour, marker)
        means = [(_place(model, across), mean(model, measure)) for model in (vae, *others)]
        axes.plot(*zip(*means, strict=True), lw=1.8, ms=5, color=colour, marker=marker, label=label)
    _dots(axes, [vae], across, measure, INK, "D")
    axes.plot(_place(vae, across), mean(vae, measure), ls="", ms=7, color=INK, marker="D", label="VAE", zorder=5)


def _dots(axes: Axes, models: list[dict[str, Any]], across: str, measure: str, colour: str, marker: str) -> None:
    for model in models:
        x = column(model, across) if across != "beta" else [model["beta"]] * len(model["runs"])
        axes.plot(x, column(model, measure), ls="", ms=4, color=colour, marker=marker, alpha=0.35, mec="none")


def _place(model: dict[str, Any], across: str) -> float:
    return float(model["beta"]) if across == "beta" else mean(model, across)
