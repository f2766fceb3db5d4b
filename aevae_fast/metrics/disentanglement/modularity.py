"""Modularity and explicitness: does a code tell of one factor only, and do all codes together tell of it plainly?"""

from dataclasses import dataclass

import numpy as np

from .arrays import Array, Floats, Integers, check_arrays, deviations, two_parts
from .information import binned, mutual_information
from .learners import area_under_curve, logistic_regression


@dataclass(frozen=True)
class ModularityExplicitness:
    """What `modularity_explicitness` returns.

    Attributes:
        modularity: mean over the codes, 0 to 1.
        explicitness: mean over the factors, on unseen rows; 0.5 by chance.
        modularities: of each code; 0 of one that tells nothing.
        explicitnesses: of each factor.
    """

    modularity: float
    explicitness: float
    modularities: tuple[float, ...]
    explicitnesses: tuple[float, ...]


def modularity_explicitness(
    codes: Array,
    factors: Array,
    *,
    train_samples: int = 10_000,
    test_samples: int = 5_000,
    bins: int = 20,
    seed: int = 0,
) -> ModularityExplicitness:
    """Modularity and explicitness (Ridgeway & Mozer 2018, arXiv:1802.05312) as disentanglement_lib has them.

    With I_jk the mutual information of code j, in bins of equal width, and factor k, over the rows learned from,

        modularity of j = 1 - Σ_{k ≠ k*} I_jk² / (I_jk*² (F - 1)), k* the factor of the largest

    Explicitness of k: area under the receiver operating characteristic of a logistic regression from all codes, brought
    to mean 0 and variance 1, to the factor's values, one value against the rest, mean over the values. (The paper then
    scales it to 0 by chance.)

    Args:
        codes: `[N, D]`, an array or tensor.
        factors: `[N, F]`, integers, F at least 2; each factor has 2 values or more.
        train_samples, test_samples: rows to learn from and to test on, as of `dci`.
        bins: of a code.
        seed: decides which rows.

    Raises:
        TypeError, ValueError: arrays that do not fit each other, are empty or not finite, factors that are no integers
            or have one value only, fewer than 2 factors, too few rows to test on, or a number below 1.
        ImportError: scikit-learn is not installed.
    """
    z, v = check_arrays(codes, factors)
    if v.shape[1] < 2:
        raise ValueError("factors: expected at least 2 columns, to tell one from the others, got 1")
    (x, y), (unseen, labels) = two_parts(z, v, train_samples, test_samples, seed)
    modularities = _modularities(mutual_information(binned(x, bins), y))
    center, scale = x.mean(0), np.where(np.ptp(x, 0) > 0, deviations(x), 1.0)
    train, test = ((x - center) / scale, y), ((unseen - center) / scale, labels)
    explicitnesses = [_explicitness(train, test, factor) for factor in range(v.shape[1])]
    return ModularityExplicitness(
        float(modularities.mean()),
        float(np.mean(explicitnesses)),
        tuple(modularities.tolist()),
        tuple(explicitnesses),
    )


def _modularities(information: Floats) -> Floats:
    """Of each code, from information `[D, F]`."""
    squares = information**2
    largest = squares.max(1)
    told = largest > 0
    others = (squares.sum(1) - largest) / (np.where(told, largest, 1.0) * (squares.shape[1] - 1))
    return np.where(told, 1 - others, 0.0)


def _explicitness(train: tuple[Floats, Integers], test: tuple[Floats, Integers], factor: int) -> float:
    classifier = logistic_regression().fit(train[0], train[1][:, factor])
    chances, labels = classifier.predict_proba(test[0]), test[1][:, factor]
    areas = [
        area_under_curve(labels == value, chances[:, column])
        for column, value in enumerate(classifier.classes_)
        if 0 < (labels == value).sum() < len(labels)
    ]
    if not areas:
        raise ValueError(f"codes: expected enough rows to test on, but all {len(labels)} of them share factor {factor}")
    return float(np.mean(areas))
