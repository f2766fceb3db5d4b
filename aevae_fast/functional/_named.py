"""Modules that are given as themselves or by name."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Module = TypeVar("Module")


def by_name(
    argument: str,
    given: str | Module,
    base: type[Any],
    known: Mapping[str, type[Module]],
    options: Mapping[str, Any],
    make: Callable[[type[Module]], Module],
) -> Module:
    """`given` itself where it is a `base`; else what `make` makes of the class that it names in `known`.

    Raises:
        ValueError: the name is unknown, or a module comes with options.
        TypeError: it is neither a name nor a `base`.
    """
    if isinstance(given, base):
        if options:
            raise ValueError(f"{argument} is a module already and takes no options; got {', '.join(options)}")
        return given
    if not isinstance(given, str):
        article = "an" if base.__name__[0] in "AEIOU" else "a"
        raise TypeError(f"{argument} must be a name or {article} {base.__name__}; got {type(given).__name__}")
    if given not in known:
        raise ValueError(f"{argument} must be one of {', '.join(map(repr, known))}; got {given!r}")
    return make(known[given])
