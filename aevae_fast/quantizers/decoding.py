"""From indices to codes."""

import torch
from torch import Tensor


def check_values(indices: Tensor, size: int) -> None:
    """
    Raises:
        ValueError: one does not lie in [-1, size). Values are read on a CPU alone: on a GPU that would wait for it.
    """
    if indices.device.type != "cpu" or torch.compiler.is_compiling():
        return
    wrong = indices[(indices < -1) | (indices >= size)]
    if len(wrong) > 0:
        raise ValueError(f"indices must lie in [-1, {size - 1}]; got {wrong[0].item()}")


def look_up(codes: Tensor, indices: Tensor, heads: int = 1) -> Tensor:
    """codes [K, D], or [heads, K, D] with a codebook for each head; indices [...], or [..., heads] of several heads →
    [..., heads·D], zeros where an index is -1.

    Raises:
        TypeError: indices are not int64. ValueError: no axis of `heads` indices, or an index that is no code (values
            are read on a CPU alone: on a GPU that would wait for the device).
    """
    if not isinstance(indices, Tensor):
        raise TypeError(f"indices must be a torch.Tensor; got {type(indices).__name__}")
    if indices.dtype != torch.int64:
        raise TypeError(f"indices must be torch.int64; got {indices.dtype}")
    if heads > 1 and (indices.ndim == 0 or indices.shape[-1] != heads):
        raise ValueError(f"indices must have shape [..., {heads}], one for each head; got {tuple(indices.shape)}")
    size = codes.shape[-2]
    check_values(indices, size)
    place = indices.clamp(min=0)
    if codes.ndim == 3:
        place = place + size * torch.arange(heads, device=indices.device)
    found = codes.flatten(0, -2)[place].where((indices >= 0)[..., None], 0.0)
    return found if heads == 1 else found.flatten(-2)
