"""What the plots share: who has which colour and marker, plain axes, a PNG that says of which numbers it is."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter
from PIL import Image
from PIL.PngImagePlugin import PngInfo

INK, PALE, FONT = "#222222", "#9ca3af", 10
_DIGEST = "Numbers"  # the text chunk of a PNG that holds the digest of what it shows


class Family(NamedTuple):
    """Providers that are drawn alike."""

    label: str
    colour: str
    marker: str


# By how a provider's name begins, in the order of the legend; what PyTorch alone does is eager or compiled.
_FAMILIES = {
    "aevae_fast": Family("aevae_fast", "#2563eb", "o"),
    "vector-quantize-pytorch": Family("vector-quantize-pytorch", "#ea580c", "s"),
    "faiss": Family("faiss", "#059669", "^"),
    "flash-kmeans": Family("flash-kmeans", "#7c3aed", "P"),
    "torch.compile": Family("torch.compile", "#db2777", "v"),
    "": Family("PyTorch", "#6b7280", "D"),
    "reference": Family("reference, plain PyTorch", PALE, "X"),
    "mm": Family("bare product, finds no code", INK, "|"),
}


def family(provider: str) -> Family:
    """By the name of who it is. The reference compiled counts as torch.compile, a peer compiled as that peer."""
    named = [start for start in _FAMILIES if start and provider.startswith(start)]
    if "torch.compile" in provider and named in ([], ["reference"]):
        return _FAMILIES["torch.compile"]
    return _FAMILIES[named[0] if named else ""]


def variant(provider: str) -> bool:
    """Is it another form of somebody who takes part in its plain form too?"""
    return ", " in provider and provider.startswith(("aevae_fast", "vector-quantize-pytorch"))


def plain(axes: Axes, grid: Literal["x", "y"]) -> None:
    """A light grid, and no frame above and on the right."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=INK, labelsize=FONT - 1)
    axes.grid(axis=grid, color=PALE, alpha=0.3, lw=0.8)
    axes.set_axisbelow(True)


def decades(axis: Axis, values: list[float], suffix: str = "") -> None:
    """Labels at powers of ten; at twice and five times those too where `values` span little."""
    narrow = max(values, default=1) < 300 * min(values, default=1)
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
    axis.set_major_formatter(lambda value, _: f"{value:g}{suffix}")
    axis.set_minor_formatter(NullFormatter())


def legend(figure: Figure, shown: list[Family], lines: bool = False, more: tuple[Line2D, ...] = ()) -> None:
    """Below all axes, each family once."""
    style = {"lw": 1.6} if lines else {"ls": ""}
    handles = [
        Line2D([], [], color=each.colour, marker=each.marker, label=each.label, ms=6, **style)
        for each in _FAMILIES.values()
        if each in shown
    ]
    figure.legend(handles=[*handles, *more], loc="outside lower center", ncols=4, frameon=False, fontsize=FONT - 1)


def short(value: float) -> str:
    """1024 as 1k, 1024k as 1M; what is below as it is."""
    for unit, letter in ((1 << 20, "M"), (1 << 10, "k")):
        if value >= unit:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"


def digest(numbers: Any) -> str:
    """Of what a plot shows, in 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()[:16]


def save(figure: Figure, file: Path, numbers: Any) -> None:
    """Write a small PNG with no date in it, and with the digest of its numbers."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, facecolor="white", metadata={"Software": None})
    note = PngInfo()
    note.add_text(_DIGEST, digest(numbers))
    file.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(buffer) as picture:
        colours = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
        colours.save(file, optimize=True, pnginfo=note)


def shows(file: Path, numbers: Any) -> bool:
    """Is `file` a plot of these numbers?"""
    if not file.is_file():
        return False
    with Image.open(file) as picture:
        return picture.info.get(_DIGEST) == digest(numbers)
