"""Mutual information of codes and factors from counts; nats."""

import numpy as np

from .arrays import Floats, Integers, check_count


def binned(codes: Floats, bins: int) -> Integers:
    """The bin of each code, int64 `[N, D]`: `bins` of equal width from the smallest to the largest of its column; one
    bin where these are so close that rounding leaves no room for as many."""
    check_count(2, bins=bins)
    return np.stack([_bins_of(column, bins) for column in codes.T], 1)


def _bins_of(column: Floats, bins: int) -> Integers:
    column = column / 2  # the range of any finite numbers is finite then
    edges = np.linspace(column.min(), column.max(), bins + 1)
    return np.digitize(column, edges[1:-1]) if (edges[:-1] < edges[1:]).all() else np.zeros(len(column), np.int64)


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
