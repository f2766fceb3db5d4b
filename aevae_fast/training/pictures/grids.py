"""Pictures made of images: pairs, a plain grid, labelled rows."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from .canvas import FONT, INK, blank, show


def draw_reconstructions(originals: Tensor, reconstructions: Tensor, title: str) -> Figure:
    """Originals in one row, reconstructions below, in as many pairs of rows as needed.

    Args:
        originals: `[N, C, H, W]`, values in [0, 1].
        reconstructions: same shape.
        title: headline.
    """
    columns = min(10, len(originals))
    starts = range(0, len(originals), columns)
    figure = Figure(figsize=(0.85 * columns + 0.9, 1.85 * len(starts) + 0.6), layout="constrained")
    figure.suptitle(title, fontsize=FONT + 2, color=INK)
    for start, part in zip(starts, np.ravel(np.asarray(figure.subfigures(len(starts), 1, hspace=0.03))), strict=True):
        for axes, (label, images) in zip(
            part.subplots(2, 1), (("original", originals), ("decoded", reconstructions)), strict=True
        ):
            strip(axes, images[start : start + columns], columns, label)
    return figure


def tile(images: Tensor, columns: int, gap: int = 1) -> Tensor:
    """One image `[C, H', W']` of images `[N, C, H, W]` row by row, white `gap` pixels wide between them and where the
    last row ends early."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    padded = F.pad(images.detach().cpu().float(), (0, gap, 0, gap), value=1.0)
    missing = torch.ones(rows * columns - count, *padded.shape[1:])
    cells = torch.cat([padded, missing]).view(rows, columns, channels, height + gap, width + gap)
    joined = cells.permute(2, 0, 3, 1, 4).reshape(channels, rows * (height + gap), columns * (width + gap))
    return joined[:, : joined.shape[1] - gap, : joined.shape[2] - gap]


def draw_grid(images: Tensor, title: str) -> Figure:
    """Images `[N, C, H, W]` in a square, or in one row of up to 8."""
    columns = len(images) if len(images) <= 8 else math.ceil(len(images) ** 0.5)
    whole = tile(images, columns)
    width = max(3.6, 0.72 * columns)
    figure = Figure(figsize=(width, width * whole.shape[1] / whole.shape[2] + 0.45), layout="constrained")
    figure.suptitle(title, fontsize=FONT + 1, color=INK)
    axes = figure.add_subplot()
    blank(axes)
    show(axes, whole)
    return figure


def draw_rows(rows: Sequence[Tensor], labels: Sequence[str], title: str, ends: tuple[str, str] | None = None) -> Figure:
    """A row of images each, with its label on the left.

    Args:
        rows: each `[N, C, H, W]`, of one length.
        labels: one a row; may be empty words.
        title: headline.
        ends: words above the first and the last column.
    """
    columns = len(rows[0])
    figure = Figure(figsize=(0.8 * columns + 1.2, 0.84 * len(rows) + 0.6), layout="constrained")
    figure.suptitle(title, fontsize=FONT + 2, color=INK)
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for ax, images, label in zip(axes, rows, labels, strict=True):
        strip(ax, images, columns, label)
    for word, place in zip(ends or (), (0.5, columns - 0.5), strict=False):
        axes[0].text(
            place / columns, 1.04, word, transform=axes[0].transAxes, ha="center", fontsize=FONT - 1, color=INK
        )
    return figure


def strip(axes: Axes, images: Tensor, columns: int, label: str) -> None:
    """Images `[N, C, H, W]` side by side, in rows of `columns`, and a label on the left."""
    blank(axes)
    show(axes, tile(images, columns, gap=max(1, images.shape[-1] // 14)))
    axes.set_ylabel(label, fontsize=FONT - 1, color=INK, rotation=0, ha="right", va="center")
