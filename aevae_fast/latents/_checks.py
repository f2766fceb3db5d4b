"""Checks of the priors' and flows' arguments."""


def check_dim(dim: int) -> int:
    return check_count("dim", dim)


def check_count(name: str, value: int) -> int:
    """A whole number, 1 or more; TypeError or ValueError that names it."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int; got {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1; got {value}")
    return value
