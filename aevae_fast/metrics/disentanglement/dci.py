"""DCI: disentanglement, completeness and informativeness, from what a classifier finds important."""

from dataclasses import dataclass

import numpy as np

from .arrays import Array, Floats, Matrix, check_arrays, two_parts
from .learners import Booster, booster_of

_TINY = 1e-11  # added to importances, so that a logarithm of 0 counts 0


@dataclass(frozen=True)
class DCI:
    """What `dci` returns.

    Attributes:
        disentanglement: 1 where each code matters for one factor only.
        completeness: 1 where one code only matters for each factor.
        informativeness: accuracy on unseen rows, mean over the factors.
        train_accuracy: on the rows learned from.
        importance: how much each code matters for each factor, a row a code, a column a factor.
        accuracies: on unseen rows, of each factor.
        booster: what learned; scores of different ones do not compare.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    train_accuracy: float
    importance: Matrix
    accuracies: tuple[float, ...]
    booster: str


def dci(
    codes: Array,
    factors: Array,
    *,
    train_samples: int = 10_000,
    test_samples: int = 5_000,
    booster: Booster = "gradient_boosting",
    seed: int = 0,
) -> DCI:
    """Disentanglement, completeness and informativeness (Eastwood & Williams 2018).

    A classifier learns each factor from the codes; R_jk is the importance that it gives code j for factor k. Then

        D = Σ_j ρ_j (1 - H_F(R_j·)), ρ_j the share of all importance that code j has
        C = Σ_k ρ_k (1 - H_D(R_·k)), ρ_k that of factor k

    H_F and H_D the entropies of the normalised row or column with logarithms to base F and D: 1 for an even spread.

    Args:
        codes: `[N, D]`, an array or tensor, D at least 2.
        factors: `[N, F]`, integers, F at least 2; each factor has 2 values or more.
        train_samples, test_samples: rows to learn from and to test on; no row is in both. Where there are fewer in all,
            they are parted in this ratio.
        booster: "gradient_boosting", scikit-learn's `GradientBoostingClassifier` as in disentanglement_lib, whose time
            grows with the rows, the codes and the number of values of all factors together; "random_forest", faster
            where factors have many values; or a callable that returns a classifier with `fit`, `predict` and
            `feature_importances_`.
        seed: decides which rows, and the booster's random numbers.

    Raises:
        TypeError, ValueError: arrays that do not fit each other, are empty or not finite, factors that are no integers
            or have one value only, fewer than 2 codes or factors, or an unknown booster.
        ImportError: scikit-learn is not installed.
    """
    z, v = check_arrays(codes, factors)
    for name, array in (("codes", z), ("factors", v)):
        if array.shape[1] < 2:
            raise ValueError(f"{name}: expected at least 2 columns, for an entropy over them, got 1")
    (x, y), (unseen, labels) = two_parts(z, v, train_samples, test_samples, seed)
    importance, accuracies, learned, name = np.empty((z.shape[1], v.shape[1])), [], [], ""
    for factor in range(v.shape[1]):
        name, classifier = booster_of(booster, seed)
        classifier.fit(x, y[:, factor])
        importance[:, factor] = np.abs(classifier.feature_importances_)
        learned.append(float((classifier.predict(x) == y[:, factor]).mean()))
        accuracies.append(float((classifier.predict(unseen) == labels[:, factor]).mean()))
    return DCI(
        _concentration(importance),
        _concentration(importance.T),
        float(np.mean(accuracies)),
        float(np.mean(learned)),
        tuple(map(tuple, importance.tolist())),
        tuple(accuracies),
        name,
    )


def _concentration(importance: Floats) -> float:
    """Σ_i ρ_i (1 - H(R_i)), ρ_i the share of row i in all of `importance`, `[rows, columns]`."""
    if not importance.sum():
        importance = np.ones_like(importance)
    rows = (importance + _TINY) / (importance + _TINY).sum(1, keepdims=True)
    spread = -(rows * np.log(rows)).sum(1) / np.log(importance.shape[1])
    return max(0.0, float((importance.sum(1) / importance.sum()) @ (1 - spread)))
