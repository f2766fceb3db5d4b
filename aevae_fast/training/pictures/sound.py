"""Pictures of sounds, and of what a codec makes of them."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from .canvas import BLUE, FONT, GREY, INK, ORANGE, curve, over_steps, plain, shades

_WINDOW, _RANGE_DB, _HIGHEST = 512, 70.0, 5000.0  # samples, dB below the loudest, Hz
_EXCERPT = 0.02  # seconds of a waveform, from its loudest place on


def draw_spectrograms(rows: Sequence[Tensor], labels: Sequence[str], sample_rate: int, title: str) -> Figure:
    """Log-spectrograms, a row each of `rows`, the originals first, and a column a clip; one scale for all of a column.

    Args:
        rows: each `[N, T]`, values in [-1, 1].
        labels: one a row.
        sample_rate: Hz.
        title: headline.
    """
    figure, grid = _grid(rows, title, height=1.35)
    for column in range(len(rows[0])):
        levels = [_decibel(row[column]) for row in rows]
        loudest = float(levels[0].max())
        for number, level in enumerate(levels):
            axes = grid[number, column]
            extent = (0.0, rows[0].shape[1] / sample_rate, 0.0, sample_rate / 2000)
            axes.imshow(
                level, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=loudest - _RANGE_DB,
                vmax=loudest, interpolation="nearest",
            )  # fmt: skip
            axes.set_ylim(0, min(_HIGHEST, sample_rate / 2) / 1000)
            _sparse(axes, "seconds" if number == len(rows) - 1 else None, "kHz" if column == 0 else None)
    _label(grid, labels)
    return figure


def draw_waveforms(rows: Sequence[Tensor], labels: Sequence[str], sample_rate: int, title: str) -> Figure:
    """An excerpt of each clip, what was decoded over the original; arguments as `draw_spectrograms`."""
    decoded = rows[1:]
    figure, grid = _grid(decoded, title, height=1.15)
    length = int(_EXCERPT * sample_rate)
    for column, original in enumerate(rows[0].cpu()):
        start = min(int(original.abs().argmax()), len(original) - length)
        part = slice(max(0, start), start + length)
        milliseconds = 1000 * np.arange(len(original[part])) / sample_rate
        for number, row in enumerate(decoded):
            axes = grid[number, column]
            axes.plot(milliseconds, original[part], color=GREY, lw=2.6, label="original")
            axes.plot(milliseconds, row[column].cpu()[part], color=BLUE, lw=1.0, label="decoded")
            axes.set_ylim(-1, 1)
            axes.set_xlim(0, milliseconds[-1])
            plain(axes)
            _sparse(axes, "milliseconds" if number == len(decoded) - 1 else None, None)
            axes.set_yticklabels([])
    _label(grid, labels[1:])
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False, fontsize=FONT - 1)
    return figure


def draw_signal_to_noise(levels: Sequence[float], kilobits: Sequence[float], title: str) -> Figure:
    """Signal-to-noise ratio over the number of stages.

    Args:
        levels: dB with the first 1, 2, ... stages.
        kilobits: kbit/s of as many.
        title: headline.
    """
    stages = range(1, len(levels) + 1)
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(stages, levels, color=BLUE, lw=1.8, marker="o", ms=5)
    for stage, level in zip(stages, levels, strict=True):
        axes.annotate(
            f"{level:.1f}", (stage, level), xytext=(2, -13), textcoords="offset points", ha="left",
            fontsize=FONT - 2, color=INK,
        )  # fmt: skip
    axes.set_title(title, fontsize=FONT + 1, color=INK)
    axes.set_xticks(stages, [f"{stage}\n{rate:g}" for stage, rate in zip(stages, kilobits, strict=True)])
    axes.set_xlabel("stages, and below them kbit/s", color=INK)
    axes.set_ylabel("signal to noise (dB)", color=INK)
    axes.margins(y=0.15)
    plain(axes)
    return figure


def draw_codec_curves(train: dict[str, list[float]], held_out: dict[str, list[float]]) -> Figure:
    """Loss, held-out signal-to-noise ratio by number of stages, and perplexity over the steps.

    Args:
        train: `step`, `loss` and `perplexity`, from training batches.
        held_out: `step`, `perplexity` and `snr_db_stages_N`, from held-out clips.
    """
    figure = Figure(figsize=(9.6, 3.3), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    curve(left, train["step"], train.get("loss", []), BLUE, None, smooth=True)
    over_steps(left, "Training loss")
    left.set_ylim(bottom=0)
    names = [name for name in held_out if name.startswith("snr_db_stages_")]
    for name, colour in zip(names, shades(len(names)), strict=True):
        curve(middle, held_out["step"], held_out[name], colour, name.removeprefix("snr_db_stages_"))
    over_steps(middle, "Held-out signal to noise (dB)")
    middle.legend(title="stages", frameon=False, fontsize=FONT - 2, title_fontsize=FONT - 2, loc="lower right")
    curve(right, train["step"], train.get("perplexity", []), BLUE, "training batches", smooth=True)
    curve(right, held_out["step"], held_out["perplexity"], ORANGE, "held-out clips")
    over_steps(right, "Perplexity, mean of the stages")
    right.set_ylim(bottom=0)
    right.legend(frameon=False, fontsize=FONT - 1, loc="lower right")
    return figure


def _grid(rows: Sequence[Tensor], title: str, height: float) -> tuple[Figure, np.ndarray]:
    columns = len(rows[0])
    figure = Figure(figsize=(2.5 * columns + 1.0, height * len(rows) + 0.9), layout="constrained")
    figure.suptitle(title, fontsize=FONT + 2, color=INK)
    return figure, figure.subplots(len(rows), columns, squeeze=False, sharex=True)


def _decibel(sound: Tensor) -> np.ndarray:
    """`[frequencies, frames]`, dB."""
    sound = sound.detach().cpu().float()
    if not sound.isfinite().all():
        raise ArithmeticError("expected sounds with finite values to draw, got NaN or infinity: the model is broken")
    spectrum = torch.stft(sound, _WINDOW, _WINDOW // 4, window=torch.hann_window(_WINDOW), return_complex=True)
    return (20 * spectrum.abs().clamp(min=1e-6).log10()).numpy()


def _sparse(axes: Axes, across: str | None, up: str | None) -> None:
    """Few ticks, and words only where given."""
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.tick_params(labelsize=FONT - 3, colors=INK, labelleft=up is not None, labelbottom=across is not None)
    if across:
        axes.set_xlabel(across, fontsize=FONT - 2, color=INK)
    if up:
        axes.set_ylabel(up, fontsize=FONT - 2, color=INK)


def _label(grid: np.ndarray, labels: Sequence[str]) -> None:
    """A row's label, left of it."""
    for axes, label in zip(grid[:, 0], labels, strict=True):
        axes.annotate(
            label, (0, 0.5), xycoords="axes fraction", xytext=(-42, 0), textcoords="offset points", ha="right",
            va="center", fontsize=FONT - 1, color=INK,
        )  # fmt: skip
