"""The FactorVAE score: does the code that varies least tell which factor is held?"""

from dataclasses import dataclass

import numpy as np

from .arrays import Array, Floats, Integers, SharedFactor, check_arrays, check_count, deviations


@dataclass(frozen=True)
class FactorVAEScore:
    """What `factor_vae_score` returns.

    Attributes:
        score: share of the unseen votes that the majority of their code's votes names rightly.
        train_accuracy: of those that made the majority.
        active: number of codes that vary at all.
    """

    score: float
    train_accuracy: float
    active: int


def factor_vae_score(
    codes: Array,
    factors: Array,
    *,
    train_votes: int = 10_000,
    eval_votes: int = 5_000,
    batch_size: int = 64,
    min_deviation: float = 0.0,
    seed: int = 0,
) -> FactorVAEScore:
    """Accuracy of the majority vote from the code of least relative variance to the factor that is held (Kim & Mnih
    2018, arXiv:1802.05983, section 4).

    For a vote a factor is drawn, a value of it as often as rows have it, and `batch_size` rows with that value; the
    code whose variance within them is the smallest part of its variance over all rows votes for the factor.

    Args:
        codes: `[N, D]`, an array or tensor.
        factors: `[N, F]`, integers; each factor has 2 values or more.
        train_votes, eval_votes: to find each code's factor, and to test it.
        batch_size: rows a vote, at least 2.
        min_deviation: codes with a smaller standard deviation do not vote; nor do constant ones.
        seed: decides what is drawn.

    Raises:
        TypeError, ValueError: arrays that do not fit each other, are empty or not finite, factors that are no integers
            or have one value only, or a number out of range.
    """
    z, v = check_arrays(codes, factors)
    check_count(train_votes=train_votes, eval_votes=eval_votes)
    check_count(2, batch_size=batch_size)  # for a variance
    if not min_deviation >= 0:
        raise ValueError(f"min_deviation: expected 0 or more, got {min_deviation}")
    deviation = deviations(z)
    active = (deviation >= min_deviation) & (np.ptp(z, 0) > 0)
    if not active.any():
        return FactorVAEScore(0.0, 0.0, 0)
    scaled = z[:, active] / deviation[active]
    shared = SharedFactor(v, np.random.default_rng(seed))
    train, unseen = (_votes(scaled, shared, count, batch_size) for count in (train_votes, eval_votes))
    majority = train.argmax(0)
    right, learned = (float(votes[majority, np.arange(len(majority))].sum() / votes.sum()) for votes in (unseen, train))
    return FactorVAEScore(right, learned, int(active.sum()))


def _votes(codes: Floats, shared: SharedFactor, count: int, batch_size: int) -> Integers:
    """How often each code was the one of least variance while a factor was held, `[F, D]`."""
    votes = np.zeros((shared.factors.shape[1], codes.shape[1]), np.int64)
    for factor, part in shared.batches(count, batch_size, codes.shape[1]):
        values = shared.factors[shared.generator.integers(len(codes), size=(part.stop - part.start, 1)), factor]
        rows = shared.draw(factor, np.repeat(values, batch_size, axis=1))
        np.add.at(votes[factor], codes[rows].var(1).argmin(1), 1)
    return votes
