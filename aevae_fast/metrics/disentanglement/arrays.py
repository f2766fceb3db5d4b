"""What the measures take: codes and factors as plain arrays, rows of them by chance."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Array = npt.NDArray[np.generic] | Tensor  # what the measures take
Matrix = tuple[tuple[float, ...], ...]

_NUMBERS = 1 << 22  # gathered at a time


def check_arrays(codes: Array, factors: Array) -> tuple[Floats, Integers]:
    """Codes as float64 `[N, D]`, and factors as int64 `[N, F]` numbered from 0 without gaps.

    Raises:
        TypeError: no arrays, complex or boolean codes, or factors that are not integers.
        ValueError: not two dimensions, no rows, no columns, codes that are not finite, another number of rows, or a
            factor that has one value only.
    """
    return check_codes("codes", codes), check_factors(factors, len(codes))


def check_codes(name: str, codes: Array) -> Floats:
    """Codes as float64 `[N, D]`; errors as of `check_arrays`."""
    array = _matrix(name, codes)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name}: expected real numbers, got {array.dtype}")
    finite = np.isfinite(array).all(1)
    if not finite.all():
        raise ValueError(f"{name}: expected finite values, got {int((~finite).sum())} rows with NaN or infinity")
    return array.astype(np.float64)


def check_factors(factors: Array, rows: int) -> Integers:
    """Factors as int64 `[rows, F]` numbered from 0 without gaps; errors as of `check_arrays`."""
    array = _matrix("factors", factors)
    if array.dtype.kind not in "iu":
        raise TypeError(f"factors: expected integers, got {array.dtype}")
    if len(array) != rows:
        raise ValueError(f"factors: expected one row for each of the {rows} codes, got {len(array)}")
    numbered = np.empty(array.shape, np.int64)
    for column, values in enumerate(array.T):
        known, numbered[:, column] = np.unique(values, return_inverse=True)
        if len(known) < 2:
            raise ValueError(
                f"factors: expected 2 values or more of each, but column {column} is {known[0]} throughout"
            )
    return numbered


def check_drawn(factors: Integers, name: str) -> None:
    """Raise ValueError for a factor that has one value in the rows drawn, which argument `name` could have more of."""
    alike = np.flatnonzero((factors == factors[0]).all(0))
    if len(alike):
        raise ValueError(
            f"{name}: expected enough rows for 2 values of each factor, but column {alike[0]} of factors has one value "
            f"only in the {len(factors)} rows drawn; raise `{name}`"
        )


def check_count(least: int = 1, **counts: int) -> None:
    """Raise TypeError for the first that is no integer, ValueError for the first below `least`."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int | np.integer):
            raise TypeError(f"{name}: expected an integer, got {count!r}")
        if count < least:
            raise ValueError(f"{name}: expected at least {least}, got {count}")


def deviations(codes: Floats) -> Floats:
    """The standard deviation of each column, `[D]`, whatever its scale: squares neither overflow nor vanish."""
    centred = codes - codes.mean(0)
    largest = np.abs(centred).max(0)
    return largest * (centred / np.where(largest > 0, largest, 1.0)).std(0)


def _matrix(name: str, array: Array) -> npt.NDArray[np.generic]:
    if isinstance(array, Tensor):
        array = array.detach().cpu()
        array = (array.float() if array.dtype in (torch.bfloat16, torch.float16) else array).numpy()
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name}: expected an array or tensor, got {type(array).__name__}")
    if array.ndim != 2 or not array.size:
        raise ValueError(f"{name}: expected two dimensions, none of them empty, got {list(array.shape)}")
    return array


def some_rows(codes: Floats, factors: Integers, count: int, seed: int) -> tuple[Floats, Integers]:
    """Up to `count` rows, by chance where there are more."""
    check_count(samples=count)
    if len(codes) <= count:
        return codes, factors
    chosen = np.random.default_rng(seed).choice(len(codes), count, replace=False)
    check_drawn(factors[chosen], "samples")
    return codes[chosen], check_factors(factors[chosen], count)


def two_parts(
    codes: Floats, factors: Integers, train: int, test: int, seed: int
) -> tuple[tuple[Floats, Integers], tuple[Floats, Integers]]:
    """Up to `train` and `test` rows by chance, no row in both; in the ratio of the two where there are too few.

    Raises:
        ValueError: a number below 1, fewer than two rows, or a factor of which the first part has one value only.
    """
    check_count(train_samples=train, test_samples=test)
    if len(codes) < 2:
        raise ValueError(f"codes: expected at least 2 rows, some to learn from and some to test on, got {len(codes)}")
    share = min(1.0, len(codes) / (train + test))
    first = min(max(1, round(train * share)), len(codes) - 1)
    order = np.random.default_rng(seed).permutation(len(codes))
    learned, tested = order[:first], order[first : first + max(1, min(test, len(codes) - first))]
    check_drawn(factors[learned], "train_samples")
    return (codes[learned], factors[learned]), (codes[tested], factors[tested])


class SharedFactor:
    """Rows by chance that have a factor in common.

    Args:
        factors: int64 `[N, F]`, numbered from 0.
        generator: where chance comes from.
    """

    def __init__(self, factors: Integers, generator: np.random.Generator) -> None:
        self.factors, self.generator = factors, generator
        self.order = np.argsort(factors, axis=0, kind="stable")  # rows with one value side by side, factor by factor
        self.counts = [np.bincount(column) for column in factors.T]
        self.starts = [np.cumsum(count) - count for count in self.counts]

    def draw(self, factor: int, values: Integers) -> Integers:
        """One row for each of `values`, evenly among those whose factor has that value; of the shape of `values`."""
        count = self.counts[factor][values]
        place = (self.generator.random(values.shape) * count).astype(np.int64)
        return self.order[:, factor][self.starts[factor][values] + np.minimum(place, count - 1)]

    def batches(self, points: int, size: int, width: int) -> Iterator[tuple[int, slice]]:
        """A factor and a slice of `points`, again and again: each point has its factor by chance, and the points of one
        factor come in slices so small that `size` rows of `width` numbers for each fit into little memory."""
        factors = np.sort(self.generator.integers(self.factors.shape[1], size=points))
        step = max(1, _NUMBERS // (size * width))
        for factor in range(self.factors.shape[1]):
            first, last = np.searchsorted(factors, [factor, factor + 1])
            for start in range(first, last, step):
                yield factor, slice(start, min(start + step, last))
