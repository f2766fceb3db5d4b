"""Tables in Markdown, and numbers in them."""

from typing import Any


def table(rows: list[list[str]]) -> str:
    """The first row is the heading; all columns but the first stand to the right."""
    rule = ["---", *("---:" for _ in rows[0][1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (rows[0], rule, *rows[1:]))


def digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:.0f}" if value >= 99.95 else f"{value:#.3g}"


def header(entry: dict[str, Any]) -> str:
    """What `sizes` lists."""
    if "stages" in entry:
        return "N, D, K, Q"
    return "N, D, K" if {"codes", "components"} & entry.keys() else "N, D"


def sizes(entry: dict[str, Any]) -> str:
    return ", ".join(str(entry[size]) for size in ("rows", "dim", "codes", "components", "stages") if size in entry)
