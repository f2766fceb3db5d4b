"""SAP: how much better does the best code tell of a factor than the second?"""

from dataclasses import dataclass

import numpy as np

from .arrays import Array, Matrix, check_arrays, two_parts
from .learners import linear_svm


@dataclass(frozen=True)
class SAP:
    """What `sap` returns.

    Attributes:
        score: mean over the factors of the gap.
        gaps: accuracy from the best code less that from the second best, of each factor.
        accuracies: on unseen rows of a factor from a code alone, a row a code, a column a factor.
    """

    score: float
    gaps: tuple[float, ...]
    accuracies: Matrix


def sap(codes: Array, factors: Array, *, train_samples: int = 10_000, test_samples: int = 5_000, seed: int = 0) -> SAP:
    """Separated attribute predictability (Kumar et al. 2018, arXiv:1711.00848), factors taken as classes.

    A linear support vector machine (C = 0.01, classes weighed alike) learns each factor from each code alone; the score
    is the mean over the factors of the gap between the two highest accuracies on unseen rows.

    Args:
        codes: `[N, D]`, an array or tensor; with one code only, the second accuracy is 0.
        factors: `[N, F]`, integers; each factor has 2 values or more.
        train_samples, test_samples: rows to learn from and to test on, as of `dci`.
        seed: decides which rows.

    Raises:
        TypeError, ValueError: arrays that do not fit each other, are empty or not finite, factors that are no integers
            or have one value only, or a number below 1.
        ImportError: scikit-learn is not installed.
    """
    z, v = check_arrays(codes, factors)
    (x, y), (unseen, labels) = two_parts(z, v, train_samples, test_samples, seed)
    accuracies = np.array(
        [
            [linear_svm().fit(x[:, [j]], y[:, k]).score(unseen[:, [j]], labels[:, k]) for k in range(v.shape[1])]
            for j in range(z.shape[1])
        ]
    )
    ordered = -np.sort(-np.concatenate([accuracies, np.zeros((1, v.shape[1]))]), axis=0)
    gaps = ordered[0] - ordered[1]
    return SAP(float(gaps.mean()), tuple(gaps.tolist()), tuple(map(tuple, accuracies.tolist())))
