"""The β-VAE metric: can one see which factor two images share from the difference of their codes?"""

from dataclasses import dataclass

import numpy as np

from .arrays import Array, Floats, Integers, SharedFactor, check_arrays, check_count
from .learners import logistic_regression


@dataclass(frozen=True)
class BetaVAEScore:
    """What `beta_vae_score` returns.

    Attributes:
        score: accuracy on points that the classifier has not seen; 1 / F by chance.
        train_accuracy: on those it learned from.
    """

    score: float
    train_accuracy: float


def beta_vae_score(
    codes: Array,
    factors: Array,
    *,
    train_points: int = 10_000,
    eval_points: int = 5_000,
    pairs: int = 64,
    seed: int = 0,
) -> BetaVAEScore:
    """Accuracy of a logistic regression that tells the factor which pairs of rows share from the mean of |z¹ - z²|
    (Higgins et al. 2017, β-VAE, section 3).

    For a point a factor is drawn, then `pairs` times a row and another row, perhaps the same, with that factor's value;
    the other factors are as the rows have them.

    Args:
        codes: `[N, D]`, an array or tensor.
        factors: `[N, F]`, integers; each factor has 2 values or more.
        train_points, eval_points: to learn from, and to test on.
        pairs: averaged for one point.
        seed: decides what is drawn.

    Raises:
        TypeError, ValueError: arrays that do not fit each other, are empty or not finite, factors that are no integers
            or have one value only, or a number below 1.
        ImportError: scikit-learn is not installed.
    """
    z, v = check_arrays(codes, factors)
    check_count(train_points=train_points, eval_points=eval_points, pairs=pairs)
    shared = SharedFactor(v, np.random.default_rng(seed))
    (x, y), (unseen, labels) = (_points(z, shared, count, pairs) for count in (train_points, eval_points))
    if len(np.unique(y)) < 2:  # one factor only, or one point
        return BetaVAEScore(float((labels == y[0]).mean()), 1.0)
    classifier = logistic_regression().fit(x, y)
    return BetaVAEScore(float(classifier.score(unseen, labels)), float(classifier.score(x, y)))


def _points(codes: Floats, shared: SharedFactor, count: int, pairs: int) -> tuple[Floats, Integers]:
    """`count` points `[count, D]`, and the factor that the pairs of each share."""
    points, labels = np.empty((count, codes.shape[1])), np.empty(count, np.int64)
    for factor, part in shared.batches(count, pairs, codes.shape[1]):
        first = shared.generator.integers(len(codes), size=(part.stop - part.start, pairs))
        second = shared.draw(factor, shared.factors[first, factor])
        points[part], labels[part] = np.abs(codes[first] - codes[second]).mean(1), factor
    return points, labels
