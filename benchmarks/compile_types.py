"""Types of arguments as the JIT would see them: sizes divisible by 16 where they would be, 1 as a constant."""

from __future__ import annotations

from typing import Any


def size_type(dimension: int) -> str | int:
    """Of a D."""
    if dimension == 1:
        return 1
    return "i32:16" if dimension % 16 == 0 else "i32"


def stride_types(letters: str, dimension: int, layout: str = "rows") -> dict[str, Any]:
    """Of the strides of tensors whose arguments these letters name, rows contiguous or "channels" first."""
    inner, channel = (size_type(dimension), 1) if layout == "rows" else (1, "i32:16")
    return {f"stride_{a}{b}": t for a in letters for b, t in (("b", "i32:16"), ("s", inner), ("d", channel))}
