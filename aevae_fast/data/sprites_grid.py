"""Sprites in the manner of dSprites: images of which every factor of variation is known."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from .sprites_rendering import SHAPES, SIDE, render_sprites

FACTOR_VALUES: dict[str, Tensor] = {
    "shape": torch.arange(len(SHAPES)),
    "scale": torch.linspace(0.5, 1, 6, dtype=torch.float64),
    "orientation": torch.linspace(0, 2 * math.pi, 40, dtype=torch.float64),  # the last is the first again
    "x": torch.linspace(0, 1, 32, dtype=torch.float64),
    "y": torch.linspace(0, 1, 32, dtype=torch.float64),
}
FACTORS = tuple(FACTOR_VALUES)
_HELD = {"shape": 0, "scale": 5, "orientation": 0, "x": 16, "y": 16}


class Sprites(Dataset[Tensor]):
    """One white shape on black, for every combination of its factors; rendered when asked for.

    The grid is that of dSprites (Matthey et al. 2017): shape 3 (square, ellipse, heart), scale 6 in [0.5, 1],
    orientation 40 in [0, 2π], both ends included, x 32, y 32. With all of it that is 737,280 images, y changing
    fastest. The pictures are drawn from formulas of the same measures; they are not those of the original file, which
    `DSprites` reads.

    Args:
        factors: names of the factors that vary.
        values: of a factor that varies, which of the grid's values it takes, by number; without an entry all.
        held: number of the value that a factor has which does not vary; without an entry a square, scale 1, upright, in
            the middle.
        image_size: side of the images in pixels.

    Attributes:
        factor_names: the factors that vary, in the order of the grid.
        factor_sizes: how many values each takes.

    Shape of an item: float32 `[1, image_size, image_size]` of 0 and 1.

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
    """

    def __init__(
        self,
        factors: Sequence[str] = FACTORS,
        *,
        values: Mapping[str, Sequence[int]] | None = None,
        held: Mapping[str, int] | None = None,
        image_size: int = SIDE,
    ) -> None:
        values, held = dict(values or {}), dict(held or {})
        _check(factors, values, held)
        if image_size < 8:
            raise ValueError(f"image_size: expected at least 8 pixels for the sprites, got {image_size}")
        self.image_size = image_size
        self.factor_names = tuple(name for name in FACTORS if name in factors)
        chosen = {name: list(values.get(name, range(len(FACTOR_VALUES[name])))) for name in self.factor_names}
        self.factor_sizes = tuple(len(numbers) for numbers in chosen.values())
        self._values = {
            name: FACTOR_VALUES[name][chosen.get(name, [held.get(name, _HELD[name])])] for name in FACTOR_VALUES
        }
        turns = self._values["orientation"].remainder(2 * math.pi)  # 2π is drawn as 0 is
        drawn = {name: values.float() for name, values in (self._values | {"orientation": turns}).items()}
        self._drawn = drawn | {"shape": self._values["shape"]}  # float32: not every device has float64

    def __len__(self) -> int:
        return math.prod(self.factor_sizes)

    def __getitem__(self, index: int) -> Tensor:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index: expected one of {len(self)} sprites, got {index}")
        return self.__getitems__([index % len(self)])[0][0]

    def __getitems__(self, indices: Sequence[int]) -> list[Tensor]:
        return [self.render(self.index_to_factors(torch.as_tensor(indices)))]  # a whole batch at once

    @property
    def factors(self) -> Tensor:
        """The factors of every image, int64 `[N, F]`: number of the value among those the factor takes."""
        return self.index_to_factors(torch.arange(len(self)))

    def factor_values(self, name: str) -> Tensor:
        """What the numbers of a factor stand for: a shape's place in (square, ellipse, heart), a scale, radians, or a
        place from 0 (left, top) to 1."""
        if name not in self._values:
            raise ValueError(f"name: expected one of {', '.join(FACTORS)}, got {name!r}")
        return self._values[name]

    def index_to_factors(self, indices: Tensor) -> Tensor:
        """Factors int64 `[N, F]` of the images numbered `indices`, integer `[N]`.

        Raises:
            TypeError, ValueError: indices that are no integers `[N]`, or beyond the data.
        """
        _check_integers("indices", indices, 1)
        if ((indices < 0) | (indices >= len(self))).any():
            raise ValueError(f"indices: expected 0 to {len(self) - 1}, got {_ends(indices)}")
        rest, columns = indices.long(), []
        for size in reversed(self.factor_sizes):
            columns.append(rest % size)
            rest = rest // size
        return torch.stack(columns[::-1], 1)

    def factors_to_index(self, factors: Tensor) -> Tensor:
        """Numbers int64 `[N]` of the images with `factors`, integer `[N, F]`; the inverse of `index_to_factors`.

        Raises:
            TypeError, ValueError: factors that are no integers `[N, F]`, or a value that a factor does not take.
        """
        self._check_factors(factors)
        index = torch.zeros(len(factors), dtype=torch.int64, device=factors.device)
        for size, column in zip(self.factor_sizes, factors.long().unbind(1), strict=True):
            index = index * size + column
        return index

    def render(self, factors: Tensor, device: torch.device | str | None = None) -> Tensor:
        """Images float32 `[N, 1, image_size, image_size]` with `factors`, integer `[N, F]`, drawn on `device` (None:
        the factors').

        Raises:
            TypeError, ValueError: as `factors_to_index`.
        """
        self._check_factors(factors)
        factors = factors.to(device=device, dtype=torch.int64)
        columns = dict(zip(self.factor_names, factors.unbind(1), strict=True))
        still = torch.zeros(len(factors), dtype=torch.int64, device=factors.device)
        drawn = {name: values.to(factors.device)[columns.get(name, still)] for name, values in self._drawn.items()}
        return render_sprites(**drawn, image_size=self.image_size)

    def _check_factors(self, factors: Tensor) -> None:
        _check_integers("factors", factors, 2)
        if factors.shape[1] != len(self.factor_sizes):
            names = ", ".join(self.factor_names)
            raise ValueError(f"factors: expected [N, {len(self.factor_sizes)}] ({names}), got {list(factors.shape)}")
        for name, size, column in zip(self.factor_names, self.factor_sizes, factors.unbind(1), strict=True):
            if ((column < 0) | (column >= size)).any():
                raise ValueError(f"factors: expected 0 to {size - 1} for {name}, got {_ends(column)}")


def _check(factors: Sequence[str], values: Mapping[str, Sequence[int]], held: Mapping[str, int]) -> None:
    if isinstance(factors, str) or not factors or len(set(factors)) < len(factors):
        raise ValueError(f"factors: expected different names, at least one, got {factors!r}")
    for argument, names in (("factors", factors), ("values", values), ("held", held)):
        unknown = [name for name in names if name not in FACTORS]
        if unknown:
            raise ValueError(f"{argument}: expected names among {', '.join(FACTORS)}, got {unknown}")
    for name, numbers in values.items():
        size = len(FACTOR_VALUES[name])
        if name not in factors:
            raise ValueError(f"values: expected factors that vary ({', '.join(factors)}), got {name!r}")
        if len(numbers) < 2 or len(set(numbers)) < len(numbers) or not all(0 <= number < size for number in numbers):
            raise ValueError(f"values: expected 2 or more different numbers below {size} for {name}, got {[*numbers]}")
    for name, number in held.items():
        size = len(FACTOR_VALUES[name])
        if name in factors:
            raise ValueError(f"held: expected factors that do not vary, but {name} does")
        if not 0 <= number < size:
            raise ValueError(f"held: expected a number below {size} for {name}, got {number}")


def _check_integers(name: str, tensor: Tensor, dimensions: int) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name}: expected an integer tensor, got {type(tensor).__name__}")
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{name}: expected integers, got {tensor.dtype}")
    if tensor.ndim != dimensions:
        raise ValueError(f"{name}: expected {dimensions} dimensions, got {list(tensor.shape)}")


def _ends(values: Tensor) -> str:
    return f"{int(values.min())} to {int(values.max())}"
