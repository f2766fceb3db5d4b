"""Argument checks and the row view. An error names the argument, what was expected and what came, before any launch."""

import math

import torch
from torch import Tensor

METRICS = ("euclidean", "cosine", "dot")
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}; got {value!r}")


def check_input(x: Tensor, dim: int) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a torch.Tensor; got {type(x).__name__}")
    if x.dtype not in FLOATS:
        raise TypeError(f"x must be float16, bfloat16, float32 or float64; got {x.dtype}")
    if not -x.ndim <= dim < x.ndim:
        raise ValueError(f"dim must name an axis of x, which has shape {tuple(x.shape)}; got {dim}")


def check_codebook(codebook: Tensor, x: Tensor, dim: int, name: str = "codebook") -> None:
    if not isinstance(codebook, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor; got {type(codebook).__name__}")
    if codebook.ndim != 2 or codebook.shape[0] == 0 or codebook.shape[1] == 0:
        raise ValueError(f"{name} must have shape [K, D] with K, D >= 1; got {tuple(codebook.shape)}")
    if x.shape[dim] != codebook.shape[1]:
        raise ValueError(
            f"x must hold vectors of size {codebook.shape[1]} (the codebook's D) along dim {dim}; "
            f"got x of shape {tuple(x.shape)} and {name} of shape {tuple(codebook.shape)}"
        )
    if codebook.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name} must be float32 (or float64, for the reference); got {codebook.dtype}")
    check_device(name, codebook, x)


def check_device(name: str, tensor: Tensor, x: Tensor) -> None:
    if tensor.device != x.device:
        raise ValueError(f"{name} must be on x's device, {x.device}; got {tensor.device}")


def check_rows(name: str, tensor: Tensor, dtype: torch.dtype, x: Tensor, dim: int) -> None:
    """A tensor with one entry a row of x: indices or a mask."""
    expected = tuple(size for axis, size in enumerate(x.shape) if axis != dim % x.ndim)
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor; got {type(tensor).__name__}")
    if tensor.dtype != dtype:
        raise TypeError(f"{name} must be {dtype}; got {tensor.dtype}")
    if tuple(tensor.shape) != expected:
        raise ValueError(f"{name} must have shape {expected}, x's without dim {dim}; got {tuple(tensor.shape)}")
    check_device(name, tensor, x)


def as_rows(x: Tensor, dim: int) -> Tensor:
    """View x as `[B, S, D]`, D being axis `dim`: the form that every implementation reads through strides.

    Two leading axes are enough for all usual layouts: rows [..., D] give [1, N, D], a channel-first map [B, D, H, W]
    gives [B, H·W, D]. Only a tensor whose leading axes cannot be merged into two is copied.
    """
    x = x.movedim(dim, -1)
    axes = [(size, stride) for size, stride in zip(x.shape[:-1], x.stride()[:-1], strict=True) if size != 1]
    breaks = [i for i in range(1, len(axes)) if axes[i - 1][1] != axes[i][0] * axes[i][1]]
    outer = math.prod([size for size, _ in axes[: breaks[0]]]) if len(breaks) == 1 else 1
    inner = math.prod(x.shape[:-1]) // outer if outer else 0
    return x.reshape(outer, inner, x.shape[-1])
