"""What every picture shares: colours, axes, and writing the file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

INK, BLUE, ORANGE, GREY = "#222222", "#2563eb", "#ea580c", "#9ca3af"
FONT = 10


def save_figure(figure: Figure, file: Path, dpi: int = 150) -> None:
    """Write `figure` as a PNG; the folder is made if it is not there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=dpi, facecolor="white", bbox_inches="tight", pad_inches=0.1)  # no label cut off


def show(axes: Axes, image: Tensor) -> None:
    """An image `[C, H, W]`, values in [0, 1], grey or in colour.

    Raises:
        ArithmeticError: a value is NaN or infinite, which would look like an image of some grey.
    """
    if not image.isfinite().all():
        raise ArithmeticError("expected images with finite values to draw, got NaN or infinity: the model is broken")
    pixels = image.detach().cpu().permute(1, 2, 0).clamp(0, 1).numpy()
    axes.imshow(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels, cmap="gray", vmin=0, vmax=1)


def blank(axes: Axes) -> None:
    """No ticks and no frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def plain(axes: Axes) -> None:
    """A light grid, and no frame above and on the right."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=INK, labelsize=FONT - 1)
    axes.grid(axis="y", color=GREY, alpha=0.25, lw=0.8)
    axes.set_axisbelow(True)


def over_steps(axes: Axes, title: str) -> None:
    """Axes of a curve over the steps of training."""
    axes.set_title(title, fontsize=FONT + 1, color=INK)
    axes.set_xlabel("step", color=INK)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    plain(axes)


def plain_numbers(axes: Axes) -> None:
    """A logarithmic y axis with 2, 20 and 50 instead of powers of ten."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    axes.tick_params(axis="y", which="minor", labelsize=FONT - 2, colors=INK)


def curve(
    axes: Axes, x: Sequence[float], y: Sequence[float], colour: str, label: str | None, smooth: bool = False
) -> None:
    """A line; with `smooth` a running mean over a paler line of the values themselves."""
    style: dict[str, Any] = {"color": colour, "lw": 1.8, "solid_capstyle": "round"}
    if smooth and len(y) >= 20:
        axes.plot(x, y, color=colour, alpha=0.2, lw=0.8)
        half = max(1, len(y) // 40)
        y = [float(np.mean(y[max(0, i - half) : i + half + 1])) for i in range(len(y))]
    axes.plot(x, y, label=label, **style)


def shades(count: int) -> list[str]:
    """Colours that go from light to dark blue: for the first stage, the second and so on."""
    light, dark = np.array([158, 196, 250]), np.array([15, 31, 107])
    places = np.linspace(0, 1, count) if count > 1 else np.array([0.6])
    colours = [(light + (dark - light) * place).astype(int) for place in places]
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in colours]
