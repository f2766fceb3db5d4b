"""The numbers of a comparison as tables: headings, and rows of words."""

from statistics import fmean, pstdev
from typing import Any

from .contenders import AUTOENCODER, NOISY

Table = tuple[list[str], list[list[str]]]


def model_table(metrics: dict[str, Any]) -> Table:
    """What each model does with held-out images and with its latents."""
    headings = [
        "model", "error (MSE)", "-log p(x given z), nats", "KL, nats", "latents in use", "total correlation, nats",
        "error, noise 0.4 R", "path length", "length / distance", "largest / mean step", "half-way precision",
    ]  # fmt: skip
    rows = []
    for model in metrics["models"].values():
        held_out, ways, noise = model["held_out"], model["interpolation"], model["robustness"]
        rows.append(
            [
                model["title"],
                spread(model["reconstruction_mse"], 4),
                f"{held_out['reconstruction_loss']:.1f}",
                f"{held_out['kl']:.1f}" if "kl" in held_out else "",
                str(model["active"]) if "kl" in held_out else "",
                spread(model["total_correlation"], 2),
                spread(noise["mse"][noise["scales"].index(0.4)], 4),
                spread(ways["path_length"], 0),
                spread(ways["length_to_distance"], 2),
                spread(ways["largest_to_mean_step"], 2),
                spread(ways["halfway_precision"], 2),
            ]
        )
    return headings, rows


def sample_table(metrics: dict[str, Any]) -> Table:
    """How samples compare with held-out images: of each model as it is meant to be drawn from, then otherwise."""
    headings = ["samples", "Fréchet distance", "precision", "recall", "MMD", "distance to scrambled"]
    models, yardsticks = metrics["models"], metrics["yardsticks"]
    rows = [_quality_row("real images", yardsticks["real"])]
    for key, model in models.items():
        drawn = "uniform" if key in (AUTOENCODER, NOISY) else "prior"
        rows.append(_quality_row(f"{model['title']}: {drawn}", model["samples"]))
    for key, model in models.items():
        drawn = "fitted Gaussian" if key in (AUTOENCODER, NOISY) else "uniform"
        rows.append(_quality_row(f"{model['title']}: {drawn}", model["other_draw"]))
    rows.append([*_quality_row("scrambled images", yardsticks["scrambled"])[:-1], ""])  # to themselves: 0
    return headings, rows


def _quality_row(name: str, quality: dict[str, list[float]]) -> list[str]:
    digits = {"frechet_distance": 2, "precision": 2, "recall": 2, "mmd": 3, "scrambled_distance": 2}
    return [name, *(spread(quality[measure], places) for measure, places in digits.items())]


def spread(values: list[float], digits: int) -> str:
    """Mean ± standard deviation over the sets."""
    return f"{fmean(values):.{digits}f} ± {pstdev(values):.{digits}f}"


def markdown(table: Table) -> str:
    """A table of GitHub's markdown; numbers to the right."""
    headings, rows = table
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
