"""The one page of pictures of a comparison."""

import re
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from aevae_fast.data import ImageDataset

from ..families import device_of, some_images
from ..pictures.canvas import BLUE, FONT, GREY, INK, ORANGE, plain
from ..pictures.grids import strip
from .contenders import AUTOENCODER, NOISY

_COLUMNS, _SAMPLE_ROWS, _WAYS = 10, 3, 3
_COLOURS = (GREY, INK, BLUE, ORANGE)


@dataclass(frozen=True)
class Exhibit:
    """What the page shows of a model; all `[N, C, H, W]`, rows of ten.

    Attributes:
        title: the model's.
        drawn: where its samples come from, in words.
        originals, reconstructions: ten held-out images, and what the model makes of them.
        samples: three rows of new images.
        ways: three rows, each from one held-out image to another.
    """

    title: str
    drawn: str
    originals: Tensor
    reconstructions: Tensor
    samples: Tensor
    ways: Tensor


def exhibit(model: Any, key: str, title: str, held_out: ImageDataset, seed: int) -> Exhibit:
    """Let `model` make what the page shows of it."""
    originals = some_images(held_out, _COLUMNS, model)
    generator = torch.Generator(device_of(model)).manual_seed(seed)
    a, b = originals[:_WAYS], originals[-_WAYS:]
    ways = model.interpolate(a, b, steps=_COLUMNS)  # [steps, ways, C, H, W]
    return Exhibit(
        title,
        "uniform over the latents' range" if key in (AUTOENCODER, NOISY) else "from the prior",
        originals.cpu(),
        model.reconstruct(originals).cpu(),
        model.sample(_COLUMNS * _SAMPLE_ROWS, generator=generator).cpu(),
        ways.transpose(0, 1).flatten(0, 1).cpu(),
    )


def draw_page(exhibits: list[Exhibit], metrics: dict[str, Any]) -> Figure:
    """Two panels of pictures a row, one a model, and below them the numbers that matter most."""
    figure = Figure(figsize=(12, 12.9), layout="constrained")
    top, bottom = np.ravel(np.asarray(figure.subfigures(2, 1, height_ratios=(4.5, 1))))
    panels = np.ravel(np.asarray(top.subfigures(2, 2, wspace=0.03, hspace=0.02)))
    for panel, one in zip(panels, exhibits, strict=True):
        _draw_model(panel, one)
    _draw_numbers(bottom, metrics)
    return figure


def _draw_model(panel: SubFigure, one: Exhibit) -> None:
    panel.suptitle(one.title, fontsize=FONT + 4, color=INK, weight="bold")
    rows = {
        "originals": one.originals,
        "decoded": one.reconstructions,
        f"samples,\n{one.drawn}".replace("the latents'", "the\nlatents'"): one.samples,
        "ways between\nthe originals": one.ways,
    }
    heights = [-(-len(images) // _COLUMNS) for images in rows.values()]
    axes = panel.subplots(len(rows), 1, height_ratios=heights)
    for ax, (label, images) in zip(axes, rows.items(), strict=True):
        strip(ax, images, _COLUMNS, label)


def _draw_numbers(part: SubFigure, metrics: dict[str, Any]) -> None:
    left, middle, right = part.subplots(1, 3)
    models = list(metrics["models"].values())
    for model, colour in zip(models, _COLOURS, strict=True):
        noise = model["robustness"]
        left.plot(noise["scales"], [fmean(mse) for mse in noise["mse"]], color=colour, lw=1.8, label=model["title"])
    left.set_xlabel("length of latent noise (R)", color=INK)
    left.set_title("Error under latent noise", fontsize=FONT + 1, color=INK)
    left.set_ylim(bottom=0)
    left.legend(frameon=False, fontsize=FONT - 2)
    yardsticks = {"real": (0, (4, 3)), "scrambled": (0, (1, 2))}
    for axes, measure, title in (
        (middle, "frechet_distance", "Fréchet distance of samples (0 is best)"),
        (right, "precision", "Precision of samples (1 is best)"),
    ):
        values = [fmean(model["samples"][measure]) for model in models]
        axes.bar(range(len(models)), values, color=_COLOURS, width=0.65)
        for name, dashes in yardsticks.items():
            height = fmean(metrics["yardsticks"][name][measure])
            axes.axhline(height, color=INK, lw=1.1, ls=dashes)
            axes.text(len(models) - 0.5, height, f"{name}\nimages", va="center", fontsize=FONT - 2, color=INK,
                      bbox={"color": "white", "pad": 1})  # fmt: skip
        axes.set_xlim(right=len(models) + 0.25)
        axes.set_xticks(range(len(models)), [re.sub(",? ", "\n", model["title"], count=1) for model in models])
        axes.set_title(title, fontsize=FONT + 1, color=INK)
    for axes in (left, middle, right):
        plain(axes)
        axes.tick_params(labelsize=FONT - 2)
