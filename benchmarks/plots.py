"""The plots of a record: others beside ours, memory, searches along N, D and K. README shows them, docs/ holds them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from .devices import device_named
from .evidence import Evidence
from .plot_cases import draw_memory, draw_peers
from .plot_style import save, shows
from .plot_sweep import draw_sweep, series
from .predictions import of_entry
from .record import slug

DOCS = Path(__file__).parent.parent / "docs"
TIMED = {
    "search": "nearest code",
    "cosine search": "by cosine",
    "step": "training step",
    "residual forward": "residual, forward",
    "residual step": "residual, training step",
    "latent": "Gaussian bottleneck",
    "mixture": "Gaussian mixture",
    "fsq": "FSQ, training step",
    "lfq": "LFQ, training step",
}
_MEMORY = {f"{kind} memory": title for kind, title in TIMED.items()}


class Plot(NamedTuple):
    """A picture that can be drawn.

    Attributes:
        file: its name.
        caption: what it shows, in words.
        numbers: what it is drawn from.
        draw: draws it.
    """

    file: str
    caption: str
    numbers: Any
    draw: Callable[[], Figure]

    def write(self, folder: Path) -> None:
        """As a PNG, with the digest of its numbers."""
        save(self.draw(), folder / self.file, self.numbers)

    def is_in(self, folder: Path) -> bool:
        """Is there a picture of these numbers? Bytes may differ between versions of what draws it."""
        return shows(folder / self.file, self.numbers)


def plots(record: dict[str, Any], evidence: Evidence) -> list[Plot]:
    """What there is to draw of a record; what it holds nothing of is left out."""
    device = device_named(record["device"])
    name = f"benchmarks-{slug(record['device'], record['type'])}"
    cases = record["cases"]
    timed = [entry for kind in TIMED for entry in cases if entry["kind"] == kind and len(entry["providers"]) > 1]
    memory = [entry for kind in _MEMORY for entry in cases if entry["kind"] == kind]
    sweep = [entry for entry in cases if entry["kind"] == "sweep"]

    def predicted(entry: dict[str, Any]) -> float | None:
        found = of_entry(entry, device, evidence) if device else None
        return found.seconds * 1e3 if found else None

    found = []
    if any(series(sweep, size) for size in ("rows", "dim", "codes")):
        least = "what the device's peak rates allow" if device else "the bare product into memory that is there"
        numbers = [sweep, [predicted(entry) for entry in sweep]]
        caption = f"Nearest code along N, D and K; the floor is {least}"
        found.append(Plot(f"{name}-sweep.png", caption, numbers, lambda: draw_sweep(sweep, predicted)))
    if timed:
        caption = "Time over ours, others and (hollow) other forms of the same"
        found.append(Plot(f"{name}-peers.png", caption, timed, lambda: draw_peers(timed, TIMED)))
    if memory:
        found.append(Plot(f"{name}-memory.png", "Peak memory", memory, lambda: draw_memory(memory, _MEMORY)))
    return found
