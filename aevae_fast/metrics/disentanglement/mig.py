"""Mutual information gap: does one code tell of each factor, and no other?"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from .arrays import Array, Floats, Matrix, check_arrays, some_rows
from .information import binned, entropy, mutual_information
from .posterior_information import information_of_posteriors


@dataclass(frozen=True)
class MutualInformationGap:
    """What `mutual_information_gap` returns.

    Attributes:
        score: mean over the factors of the gap, 0 to 1.
        gaps: (I₁ - I₂) / H of each factor, I₁ and I₂ its largest and second largest information.
        information: I(code; factor) in nats, a row a code, a column a factor.
        entropies: H of each factor, nats.
        estimator: "histogram" or "posterior".
    """

    score: float
    gaps: tuple[float, ...]
    information: Matrix
    entropies: tuple[float, ...]
    estimator: str


def mutual_information_gap(
    codes: Array,
    factors: Array,
    *,
    estimator: Literal["histogram", "posterior"] = "histogram",
    logvar: Array | None = None,
    bins: int = 20,
    samples: int = 10_000,
    seed: int = 0,
) -> MutualInformationGap:
    """MIG = mean over factors v of (I₁ - I₂) / H(v), where I₁ ≥ I₂ are the two largest I(z_j; v) over the codes j
    (Chen et al. 2018, arXiv:1802.04942).

    "histogram" is the form of disentanglement_lib (Locatello et al. 2019, arXiv:1811.12359): each code, a posterior
    mean, is put into bins of equal width. "posterior" is that of Chen et al.: see `mutual_information_gap_posterior`.

    Args:
        codes: `[N, D]`, an array or tensor; with one code only, I₂ is 0.
        factors: `[N, F]`, integers; each factor has 2 values or more.
        estimator: "histogram" or "posterior".
        logvar: log-variances of the posteriors whose means `codes` are, `[N, D]`; for "posterior" alone.
        bins: of a code, for "histogram".
        samples: rows to count, drawn where there are more ("histogram"); codes to draw ("posterior").
        seed: decides what is drawn.

    Raises:
        TypeError, ValueError: arrays that do not fit each other, are empty or not finite, factors that are no integers
            or have one value only, or an option that does not fit.
    """
    if estimator == "posterior":
        if logvar is None:
            raise ValueError("logvar: expected the posteriors' log-variances for estimator='posterior', got None")
        return mutual_information_gap_posterior(codes, logvar, factors, samples=samples, seed=seed)
    if estimator != "histogram":
        raise ValueError(f"estimator: expected 'histogram' or 'posterior', got {estimator!r}")
    if logvar is not None:
        raise ValueError("logvar: expected None for estimator='histogram', which takes the codes as they are")
    z, v = some_rows(*check_arrays(codes, factors), samples, seed)
    return _gap(mutual_information(binned(z, bins), v), entropy(v), entropy(v), estimator)


def mutual_information_gap_posterior(
    mean: Array, logvar: Array, factors: Array, *, samples: int = 10_000, seed: int = 0
) -> MutualInformationGap:
    """MIG of Gaussian posteriors q(z | x), z drawn from them (Chen et al. 2018, arXiv:1802.04942, section 4.1).

    I(z_j; v) = H(z_j) - Σ_l p(v = l) H(z_j | v = l), the entropies those of the aggregate posterior, the mean of
    q(z_j | x) over all rows, or over those with v = l: -log of its density at z drawn from it. Information below 0, by
    chance, counts 0. A gap is divided by log L, L the number of the factor's values.

    The work is `samples` times N, twice; no array of that size is made.

    Args:
        mean, logvar: of the posteriors, `[N, D]`; tensors stay on their device.
        factors: `[N, F]`, integers.
        samples: codes drawn for the entropies; for those of a factor's values in shares, each at least one.
        seed: decides what is drawn.

    Raises:
        TypeError, ValueError: as `mutual_information_gap`.
    """
    information, values = information_of_posteriors(mean, logvar, factors, samples, seed)
    return _gap(information, entropy(values), np.log(values.max(0) + 1), "posterior")


def _gap(information: Floats, entropies: Floats, whole: Floats, estimator: str) -> MutualInformationGap:
    """From information [D, F]; `whole` [F] is what the gaps are divided by."""
    ordered = -np.sort(-np.concatenate([information, np.zeros((1, len(whole)))]), axis=0)
    gaps = (ordered[0] - ordered[1]) / whole
    return MutualInformationGap(
        float(gaps.mean()),
        tuple(gaps.tolist()),
        tuple(map(tuple, information.tolist())),
        tuple(entropies.tolist()),
        estimator,
    )
