"""Pictures of a codebook and of what a VQ-VAE makes of images."""

import math

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from aevae_fast.metrics import UsageReport

from .canvas import BLUE, FONT, GREY, INK, ORANGE, blank, curve, over_steps, plain, plain_numbers, show


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
        fontsize=FONT - 1, color=ORANGE,
    )  # fmt: skip
    axes.set_yscale("log")
    axes.set_xlim(0, size)
    axes.set_xlabel(f"the {size} codes, most used first", color=INK)
    axes.set_ylabel("share of positions (%)", color=INK)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    used = size - usage.dead_codes
    axes.set_title(
        f"{title}: {used} of {size} codes used, perplexity {usage.perplexity:.0f}", fontsize=FONT + 2, color=INK
    )
    plain(axes)
    return figure


def draw_codebook_curves(train: dict[str, list[float]], held_out: dict[str, list[float]]) -> Figure:
    """Loss, held-out error and perplexity over the steps.

    Args:
        train: `step`, `loss` and `perplexity`, from training batches.
        held_out: `step`, `nmse` and `perplexity`, from held-out images.
    """
    figure = Figure(figsize=(9.6, 3.3), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    curve(left, train["step"], train.get("loss", []), BLUE, None, smooth=True)
    plain_numbers(left)
    over_steps(left, "Training loss")
    curve(middle, held_out["step"], held_out["nmse"], ORANGE, None)
    plain_numbers(middle)
    over_steps(middle, "Held-out error / variance")
    curve(right, train["step"], train.get("perplexity", []), BLUE, "training batches", smooth=True)
    curve(right, held_out["step"], held_out["perplexity"], ORANGE, "held-out images")
    over_steps(right, "Codebook perplexity")
    right.set_ylim(bottom=0)
    right.legend(frameon=False, fontsize=FONT - 1, loc="lower right")
    return figure


def draw_code_curves(train: dict[str, list[float]], held_out: dict[str, list[float]]) -> Figure:
    """Bits an image under a prior over codes, over the steps.

    Args:
        train: `step` and `loss`, nats an image.
        held_out: `step`, `bits_per_image`, and `independent_bits_per_image` for the line that a prior must stay below.
    """
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    curve(axes, train["step"], [nats / math.log(2) for nats in train.get("loss", [])], BLUE, "training", smooth=True)
    curve(axes, held_out["step"], held_out["bits_per_image"], ORANGE, "held-out images")
    independent = held_out["independent_bits_per_image"][-1]
    axes.axhline(independent, color=GREY, lw=1.5, ls="--", label="independent codes")
    over_steps(axes, "Bits of an image's codes")
    axes.legend(frameon=False, fontsize=FONT - 1, loc="center right")
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
    figure.suptitle(f"An image as {height} x {width} codes", fontsize=FONT + 2, color=INK)
    axes = figure.subplots(3, columns, squeeze=False)
    for row, (label, images) in enumerate((("original", originals), ("codes", colours), ("decoded", reconstructions))):
        for column in range(columns):
            blank(axes[row, column])
            show(axes[row, column], images[column])
        axes[row, 0].set_ylabel(label, fontsize=FONT, color=INK)
    return figure


def code_colours(codebook: Tensor) -> Tensor:
    """Colours `[K, 3]` in [0, 1] by rank along the first three principal axes of `codebook [K, D]`."""
    codes = codebook.detach().cpu().double()
    axes = torch.linalg.svd(codes - codes.mean(0), full_matrices=False).Vh[:3]
    ranks = (codes @ axes.T).argsort(0).argsort(0).double() / max(1, len(codes) - 1)
    colours = torch.full((len(codes), 3), 0.5, dtype=torch.float64)
    colours[:, : ranks.shape[1]] = ranks
    return 0.1 + 0.85 * colours
