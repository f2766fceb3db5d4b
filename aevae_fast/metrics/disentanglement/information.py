"""Mutual information of codes and factors from counts; nats."""

import numpy as np

from .arrays import Floats, Integers


def binned(codes: Floats, bins: int) -> Integers:
    """The bin of each code, int64 `[N, D]`: `bins` of equal width from the smallest to the largest of its column."""
    if bins < 2:
        raise ValueError(f"bins: expected at least 2, got {bins}")
    edges = [np.histogram_bin_edges(column, bins)[1:-1] for column in codes.T]
    return np.stack([np.digitize(column, edge) for column, edge in zip(codes.T, edges, strict=True)], 1)


def mutual_information(first: Integers, second: Integers) -> Floats:
    """I(a; b) = Σ p(a, b) ln (p(a, b) / p(a)p(b)) of each column a of `first` and b of `second`, `[A, B]`.

    Args:
        first, second: int64 `[N, A]` and `[N, B]`, small numbers from 0.
    """
    return np.array([[_of_two(a, b) for b in second.T] for a in first.T])


def entropy(numbers: Integers) -> Floats:
    """H(b) = -Σ p(b) ln p(b) of each column, `[B]`."""
    return np.array([_of_two(column, column) for column in numbers.T])


def _of_two(a: Integers, b: Integers) -> float:
    rows, columns = int(a.max()) + 1, int(b.max()) + 1
    joint = np.bincount(a * columns + b, minlength=rows * columns).reshape(rows, columns) / len(a)
    apart = joint.sum(1, keepdims=True) * joint.sum(0)
    seen = joint > 0
    return max(0.0, float((joint[seen] * np.log(joint[seen] / apart[seen])).sum()))
