"""Checks of constructor arguments and inputs; each error names the argument, what was expected and what came."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn

INTEGERS = (torch.int64, torch.int32, torch.int16, torch.uint8)


def check_whole(**values: Any) -> None:
    """Raise TypeError naming the first argument that is not a whole number."""
    for name, value in values.items():
        if not isinstance(value, Integral):
            raise TypeError(f"{name}: expected a whole number, got {value!r}")


def check_positive(**values: Any) -> None:
    """Raise TypeError or ValueError naming the first argument that is not a positive number."""
    for name, value in values.items():
        _check_number(name, value, "a positive number")
        if not value > 0:
            raise ValueError(f"{name}: expected a positive number, got {value!r}")


def check_not_negative(**values: Any) -> None:
    """Raise TypeError or ValueError naming the first argument that is negative or not a number."""
    for name, value in values.items():
        _check_number(name, value, "a number, 0 or more")
        if not 0 <= value < math.inf:
            raise ValueError(f"{name}: expected a finite number, 0 or more, got {value!r}")


def _check_number(name: str, value: Any, expected: str) -> None:
    if not isinstance(value, Real):
        raise TypeError(f"{name}: expected {expected}, got {value!r}")


def check_stages(downsampling_factor: int) -> int:
    """Number of halvings in `downsampling_factor`; ValueError unless it is a power of two."""
    if downsampling_factor < 1 or downsampling_factor & (downsampling_factor - 1):
        raise ValueError(f"downsampling_factor: expected a power of two (1, 2, 4, ...), got {downsampling_factor!r}")
    return downsampling_factor.bit_length() - 1


def check_image_size(image_size: int | Sequence[int], factor: int = 1, name: str = "image_size") -> tuple[int, int]:
    """`image_size` as (height, width); ValueError, with `name`, unless both are positive multiples of `factor`."""
    sides = image_size if isinstance(image_size, (tuple, list)) else (image_size, image_size)
    for side in sides:
        check_whole(**{name: side})
    if len(sides) != 2 or any(side < 1 for side in sides):
        raise ValueError(f"{name}: expected a positive number or (height, width), got {image_size!r}")
    if sides[0] % factor or sides[1] % factor:
        below, above = ("x".join(str(max(1, side // factor + more) * factor) for side in sides) for more in (0, 1))
        raise ValueError(
            f"{name}: expected sides divisible by downsampling_factor={factor}, got {sides[0]}x{sides[1]}; "
            f"{below} and {above} are the nearest that fit"
        )
    return sides[0], sides[1]


def check_image_batch(x: Tensor, in_channels: int) -> None:
    """Raise TypeError or ValueError unless `x` is a floating point `[B, in_channels, H, W]`."""
    if not isinstance(x, Tensor):
        raise TypeError(f"x: expected a tensor of images, got {type(x).__name__}")
    if x.ndim != 4 or x.shape[1] != in_channels:
        raise ValueError(
            f"x: expected images [B, {in_channels}, H, W] (in_channels={in_channels}), got {list(x.shape)}"
        )
    if not x.is_floating_point():
        raise TypeError(f"x: expected a floating point tensor with values in [0, 1], got {x.dtype}")


def check_modules(**values: Any) -> None:
    """Raise TypeError naming the first argument that is neither None nor a module."""
    for name, value in values.items():
        if value is not None and not isinstance(value, nn.Module):
            raise TypeError(f"{name}: expected None or a module, got {value!r}")


def check_widths(**values: Any) -> None:
    """Raise TypeError or ValueError naming the first argument that is no sequence of positive whole numbers."""
    for name, widths in values.items():
        if isinstance(widths, str) or not isinstance(widths, Sequence):
            raise TypeError(f"{name}: expected a sequence of whole numbers, got {widths!r}")
        for width in widths:
            check_whole(**{name: width})
            check_positive(**{name: width})


def check_images(x: Tensor, in_channels: int, factor: int) -> None:
    """Raise TypeError or ValueError unless `x` is a floating point `[B, in_channels, H, W]` that `factor` divides."""
    check_image_batch(x, in_channels)
    if x.shape[2] % factor or x.shape[3] % factor:
        raise ValueError(
            f"x: expected H and W divisible by downsampling_factor={factor}, got {x.shape[2]}x{x.shape[3]}"
        )
