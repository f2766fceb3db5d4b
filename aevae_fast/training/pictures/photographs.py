"""Whole photographs beside what a tokenizer makes of them."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from .canvas import FONT, INK, ORANGE, blank, show

_INCHES = 4.0  # across a photograph


def draw_photographs(rows: Sequence[Sequence[Tensor]], titles: Sequence[str], border: int) -> Figure:
    """A row a photograph: the original, a map of its codes in colours, and one or more decoded versions.

    Below a decoded version stands its error in the part that training never saw, right of an orange line.

    Args:
        rows: images `[C, H, W]`, the map at any resolution; the originals first, then the map.
        titles: one a column.
        border: pixels on the right that training never saw.
    """
    height, width = rows[0][0].shape[1:]
    across = 4.0
    figure = Figure(
        figsize=(across * len(titles), (across * height / width + 0.3) * len(rows) + 0.3), layout="constrained"
    )
    grid = figure.subplots(len(rows), len(titles), squeeze=False)
    for line, images in zip(grid, rows, strict=True):
        for column, (axes, image) in enumerate(zip(line, images, strict=True)):
            blank(axes)
            show(axes, image)
            if column != 1:
                axes.axvline(image.shape[2] - border - 0.5, color=ORANGE, lw=1.2)
            if column > 1:
                axes.set_xlabel(
                    f"PSNR right of the line {_psnr(images[0], image, border):.1f} dB", fontsize=FONT, color=INK
                )
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=FONT + 2, color=INK)
    return figure


def _psnr(original: Tensor, decoded: Tensor, border: int) -> float:
    """Peak signal-to-noise ratio of the last `border` columns, dB."""
    error = (original - decoded)[..., -border:].double().square().mean()
    return float(-10 * torch.log10(error))
