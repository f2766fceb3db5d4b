"""Ways between two latents, and through one."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .checks import check_whole

MODES = ("linear", "slerp")


def interpolate_latents(a: Tensor, b: Tensor, steps: int, mode: str = "linear") -> Tensor:
    """`steps` latents from `a` to `b`, both included, evenly spaced.

    "linear" goes straight. "slerp" (Shoemake 1985; White 2016, arXiv:1609.04468) turns the direction at an even rate
    and changes the norm evenly, so that latents of one norm keep it; from opposite latents it goes round by the axis
    that they use least.

    Args:
        a, b: `[B, ...]`, one shape; slerp takes each of the B as a vector.
        steps: at least 2.
        mode: "linear" or "slerp".

    Returns:
        `[steps, B, ...]`, float32 or wider.

    Raises:
        TypeError: `steps` is no whole number.
        ValueError: `steps` below 2, an unknown mode, or shapes that differ.
    """
    _check_steps(steps)
    if mode not in MODES:
        raise ValueError(f"mode: expected one of {', '.join(MODES)}, got {mode!r}")
    if a.shape != b.shape:
        raise ValueError(f"b: expected the shape of a, {list(a.shape)}, got {list(b.shape)}")
    a, b = (side.to(torch.promote_types(side.dtype, torch.float32)) for side in (a, b))
    t = torch.linspace(0, 1, steps, dtype=a.dtype, device=a.device)
    if mode == "linear":
        return torch.lerp(a, b, t.view(-1, *[1] * a.ndim))
    return _slerp(a.flatten(1), b.flatten(1), t.view(-1, 1, 1)).view(steps, *a.shape)


def traverse_latents(
    latent: Tensor, low: Tensor, high: Tensor, steps: int, dims: Sequence[int] | None = None
) -> Iterator[Tensor]:
    """For each of the elements `dims`, `latent` with that element going evenly from `low` to `high`.

    Args:
        latent: `[B, ...]`.
        low, high: the ends for each element; they broadcast to `latent.shape[1:]`.
        steps: at least 2.
        dims: elements, counted in the flattened latent; None takes all.

    Yields:
        `[steps, B, ...]`.

    Raises:
        TypeError: `steps` or an element is no whole number.
        ValueError: `steps` below 2, or an element that is not there.
    """
    _check_steps(steps)
    size = latent.shape[1:].numel()
    chosen = range(size) if dims is None else dims
    for dim in chosen:
        check_whole(dims=dim)
        if not 0 <= dim < size:
            raise ValueError(f"dims: expected elements in [0, {size}), got {dim}")
    low, high = (end.expand(latent.shape[1:]).flatten() for end in (low, high))
    t = torch.linspace(0, 1, steps, dtype=low.dtype, device=latent.device)[:, None]
    for dim in chosen:
        moved = latent.flatten(1).expand(steps, -1, -1).clone()
        moved[:, :, dim] = torch.lerp(low[dim], high[dim], t).to(latent.dtype)
        yield moved.unflatten(2, latent.shape[1:])


def _check_steps(steps: int) -> None:
    check_whole(steps=steps)
    if steps < 2:
        raise ValueError(f"steps: expected at least 2, the two ends, got {steps}")


def _slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """a, b [B, D]; t [steps, 1, 1]. The angle is taken by atan2: its cosine is blind near 0 and π."""
    norm_a, norm_b = (side.norm(dim=1, keepdim=True) for side in (a, b))
    from_a = torch.where(norm_a > 0, a / norm_a, _unit(b))  # from the origin, straight on
    to_b = torch.where(norm_b > 0, b / norm_b, from_a)
    along = (from_a * to_b).sum(1, keepdim=True)
    across = to_b - along * from_a
    angle = torch.atan2(across.norm(dim=1, keepdim=True), along)
    opposite = (along < 0) & (across.norm(dim=1, keepdim=True) < 1e-6)
    side = torch.where(opposite, _perpendicular(from_a), _unit(across))
    turned = torch.cos(t * angle) * from_a + torch.sin(t * angle) * side
    return torch.lerp(norm_a, norm_b, t) * turned


def _unit(x: Tensor) -> Tensor:
    """x / ‖x‖; zero where x is."""
    return x / x.norm(dim=1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)


def _perpendicular(unit: Tensor) -> Tensor:
    """The axis that `unit [B, D]` uses least, made perpendicular to it."""
    axis = torch.zeros_like(unit).scatter_(1, unit.abs().argmin(1, keepdim=True), 1)
    return _unit(axis - (axis * unit).sum(1, keepdim=True) * unit)
