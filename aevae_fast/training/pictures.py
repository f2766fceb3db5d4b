"""Pictures of a trained model, drawn without a display."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from aevae_fast.metrics import UsageReport

INK, BLUE, ORANGE, GREY = "#222222", "#2563eb", "#ea580c", "#9ca3af"
_FONT = 10


def save_figure(figure: Figure, file: Path) -> None:
    """Write `figure` as a PNG; the folder is made if it is not there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150, facecolor="white")


def draw_reconstructions(originals: Tensor, reconstructions: Tensor, title: str) -> Figure:
    """Originals in one row, reconstructions below, in as many pairs of rows as needed.

    Args:
        originals: `[N, C, H, W]`, values in [0, 1].
        reconstructions: same shape.
        title: headline.
    """
    columns = min(10, len(originals))
    pairs = -(-len(originals) // columns)
    figure = Figure(figsize=(0.9 * columns + 0.6, 2.05 * pairs + 0.6), layout="constrained")
    figure.suptitle(title, fontsize=_FONT + 2, color=INK)
    for pair, part in enumerate(figure.subfigures(pairs, 1, squeeze=False, hspace=0.03)[:, 0]):
        axes = part.subplots(2, columns, squeeze=False)
        for row, (label, images) in enumerate((("original", originals), ("decoded", reconstructions))):
            for column in range(columns):
                number = pair * columns + column
                _blank(axes[row, column])
                if number < len(images):
                    _show(axes[row, column], images[number])
            axes[row, 0].set_ylabel(label, fontsize=_FONT - 2, color=INK)
    return figure


def draw_usage(usage: UsageReport, title: str) -> Figure:
    """How often each code is chosen, most used first, beside the share it had if all were used alike."""
    share = (usage.counts.double() / usage.counts.sum().clamp(min=1)).sort(descending=True).values.cpu().numpy() * 100
    size = len(share)
    figure = Figure(figsize=(7.2, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.fill_between(np.arange(size + 1), np.append(share, share[-1]), step="post", color=BLUE, alpha=0.85, lw=0)
    axes.axhline(100 / size, color=ORANGE, lw=1.5)
    axes.annotate(
        "all codes used alike", (size, 100 / size), xytext=(-4, 4), textcoords="offset points", ha="right",
        fontsize=_FONT - 1, color=ORANGE,
    )  # fmt: skip
    axes.set_yscale("log")
    axes.set_xlim(0, size)
    axes.set_xlabel(f"the {size} codes, most used first", color=INK)
    axes.set_ylabel("share of positions (%)", color=INK)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    used = size - usage.dead_codes
    axes.set_title(
        f"{title}: {used} of {size} codes used, perplexity {usage.perplexity:.0f}", fontsize=_FONT + 2, color=INK
    )
    _plain(axes)
    return figure


def draw_curves(train: dict[str, list[float]], held_out: dict[str, list[float]]) -> Figure:
    """Loss, held-out error and perplexity over the steps.

    Args:
        train: `step`, `loss` and `perplexity`, from training batches.
        held_out: `step`, `nmse` and `perplexity`, from held-out images.
    """
    figure = Figure(figsize=(9.6, 3.3), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _curve(left, train["step"], train["loss"], BLUE, None, smooth=True)
    left.set_title("Training loss", fontsize=_FONT + 1, color=INK)
    left.set_yscale("log")
    _curve(middle, held_out["step"], held_out["nmse"], ORANGE, None)
    middle.set_title("Held-out error / variance", fontsize=_FONT + 1, color=INK)
    middle.set_yscale("log")
    _curve(right, train["step"], train["perplexity"], BLUE, "training batches", smooth=True)
    _curve(right, held_out["step"], held_out["perplexity"], ORANGE, "held-out images")
    right.set_title("Codebook perplexity", fontsize=_FONT + 1, color=INK)
    right.set_ylim(bottom=0)
    right.legend(frameon=False, fontsize=_FONT - 1, loc="lower right")
    for axes in (left, middle, right):
        axes.set_xlabel("step", color=INK)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        _plain(axes)
    for axes in (left, middle):
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
        axes.tick_params(axis="y", which="minor", labelsize=_FONT - 2, colors=INK)
    return figure


def draw_code_maps(originals: Tensor, indices: Tensor, reconstructions: Tensor, codebook: Tensor) -> Figure:
    """A few images, the codes they become, and what the codes become again; like codes have like colours.

    Args:
        originals: `[N, C, H, W]`, values in [0, 1].
        indices: `[N, h, w]`.
        reconstructions: `[N, C, H, W]`.
        codebook: `[K, D]`; a code's colour is its place along the first three principal axes.
    """
    columns = len(originals)
    colours = code_colours(codebook)[indices.cpu()].permute(0, 3, 1, 2)
    figure = Figure(figsize=(1.25 * columns + 0.5, 4.4), layout="constrained")
    height, width = indices.shape[1:]
    figure.suptitle(f"An image as {height} x {width} codes", fontsize=_FONT + 2, color=INK)
    axes = figure.subplots(3, columns, squeeze=False)
    for row, (label, images) in enumerate((("original", originals), ("codes", colours), ("decoded", reconstructions))):
        for column in range(columns):
            _blank(axes[row, column])
            _show(axes[row, column], images[column])
        axes[row, 0].set_ylabel(label, fontsize=_FONT, color=INK)
    return figure


def code_colours(codebook: Tensor) -> Tensor:
    """Colours `[K, 3]` in [0, 1] by rank along the first three principal axes of `codebook [K, D]`."""
    codes = codebook.detach().cpu().double()
    axes = torch.linalg.svd(codes - codes.mean(0), full_matrices=False).Vh[:3]
    ranks = (codes @ axes.T).argsort(0).argsort(0).double() / max(1, len(codes) - 1)
    colours = torch.full((len(codes), 3), 0.5, dtype=torch.float64)
    colours[:, : ranks.shape[1]] = ranks
    return 0.1 + 0.85 * colours


def _show(axes: Axes, image: Tensor) -> None:
    pixels = image.detach().cpu().permute(1, 2, 0).clamp(0, 1).numpy()
    axes.imshow(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels, cmap="gray", vmin=0, vmax=1)


def _blank(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _plain(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=INK, labelsize=_FONT - 1)
    axes.grid(axis="y", color=GREY, alpha=0.25, lw=0.8)
    axes.set_axisbelow(True)


def _curve(
    axes: Axes, x: Sequence[float], y: Sequence[float], colour: str, label: str | None, smooth: bool = False
) -> None:
    style: dict[str, Any] = {"color": colour, "lw": 1.8, "solid_capstyle": "round"}
    if smooth and len(y) >= 20:
        axes.plot(x, y, color=colour, alpha=0.2, lw=0.8)
        half = max(1, len(y) // 40)
        y = [float(np.mean(y[max(0, i - half) : i + half + 1])) for i in range(len(y))]
    axes.plot(x, y, label=label, **style)
