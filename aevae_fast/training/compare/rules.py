"""Rules that numbers follow or not, each kept with the numbers in words.

Every measure is taken over several sets (of samples, or parts of the held-out images). "In each set" means: set by set,
all of them; of two that are alike, chance alone makes that of one or the other once in 2^(sets - 1).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

Values = list[float]  # one a set


@dataclass(frozen=True)
class Check:
    """One rule of a claim.

    Attributes:
        rule: in words.
        values: the numbers that decide, in words.
        holds: whether they follow the rule.
    """

    rule: str
    values: str
    holds: bool


def is_lower(rule: str, measure: str, lower: tuple[str, Values], higher: tuple[str, Values]) -> Check:
    """`measure` of the one is below that of the other, in each set."""
    words = ", ".join(f"{name} {in_words(values)}" for name, values in (lower, higher))
    return Check(f"{rule}, in each set.", f"{measure}: {words}", below(lower[1], higher[1]))


def looks_real(samples: Values, real: Values, *, claimed: bool) -> Check:
    """At least half as many of the samples look real as of real images; not `claimed`: fewer."""
    half = [value / 2 for value in real]
    return Check(
        f"{'At least' if claimed else 'Fewer than'} half as many of its samples look real as of real images "
        "(precision), in each set.",
        f"precision: samples {in_words(samples)}, real {in_words(real)}",
        at_least(samples, half) if claimed else below(samples, half),
    )


def is_nearer_to_real(to_real: Values, to_scrambled: Values, *, claimed: bool) -> Check:
    """The samples' distance to real images is below that to scrambled ones; not `claimed`: the other way."""
    ends = ("real", "scrambled") if claimed else ("scrambled", "real")
    return Check(
        f"Its samples are nearer to {ends[0]} images than to {ends[1]} ones (scrambled: each pixel from another "
        "image), by the Fréchet distance, in each set.",
        f"Fréchet distance of the samples: to real images {in_words(to_real)}, to scrambled ones "
        f"{in_words(to_scrambled)}",
        below(to_real, to_scrambled) if claimed else below(to_scrambled, to_real),
    )


def are_smoother(smooth: tuple[str, dict[str, Any]], other: tuple[str, dict[str, Any]]) -> list[Check]:
    """Interpolations of the one model beside those of the other, a check a measure: shorter paths, which a decoder that
    shows fewer differences has too, and more direct and even ones, which it has not."""
    measures = {
        "path_length": ("shorter", "perceptual path length"),
        "length_to_distance": ("more direct", "length over distance"),
        "largest_to_mean_step": ("more even", "largest over mean step"),
    }
    return [
        is_lower(
            f"Its interpolations are {adjective} than the {other[0]}'s",
            words,
            (smooth[0], smooth[1]["interpolation"][measure]),
            (other[0], other[1]["interpolation"][measure]),
        )
        for measure, (adjective, words) in measures.items()
    ]


def below(ours: Values, theirs: Values) -> bool:
    """Smaller in each set."""
    return all(a < b for a, b in zip(ours, theirs, strict=True))


def at_least(ours: Values, theirs: Values) -> bool:
    """As large or larger in each set."""
    return all(a >= b for a, b in zip(ours, theirs, strict=True))


def listed(values: Iterable[float]) -> str:
    """Numbers of three digits, with strokes between."""
    return " / ".join(f"{value:.3g}" for value in values)


def in_words(values: Values) -> str:
    """Mean, smallest and largest."""
    return f"{fmean(values):.3g} ({min(values):.3g} to {max(values):.3g})"
