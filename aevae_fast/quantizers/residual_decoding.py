"""From the indices of residual stages back to vectors."""

from collections.abc import Sequence

import torch
from torch import Tensor


def check_stage_indices(indices: Tensor, sizes: Sequence[int]) -> None:
    """indices [..., Q'] int64 of the first Q' stages, each in [-1, K_q). Waits for the device; not while a program or a
    CUDA graph is being made.

    Raises:
        TypeError, ValueError: the dtype, the number of stages or a value does not fit, named.
    """
    if not isinstance(indices, Tensor):
        raise TypeError(f"indices must be a torch.Tensor; got {type(indices).__name__}")
    if indices.dtype != torch.int64:
        raise TypeError(f"indices must be torch.int64; got {indices.dtype}")
    if indices.ndim == 0 or not 1 <= indices.shape[-1] <= len(sizes):
        raise ValueError(f"indices must have shape [..., Q], Q at most {len(sizes)}; got {tuple(indices.shape)}")
    if torch.compiler.is_compiling() or (indices.is_cuda and torch.cuda.is_current_stream_capturing()):
        return
    limits = torch.tensor(sizes[: indices.shape[-1]], device=indices.device)
    wrong = ((indices < -1) | (indices >= limits)).nonzero()
    if len(wrong):
        place = tuple(wrong[0].tolist())
        stage, value = place[-1], int(indices[place])
        raise ValueError(f"indices of stage {stage} must lie in [-1, {sizes[stage]}); got {value} at {place}")


def codes_of(indices: Tensor, codebooks: Sequence[Tensor]) -> Tensor:
    """indices [..., Q'] of the first Q' of Q stages, codebooks [K_q, D] → codes [Q, ..., D], 0 where there is none."""
    codes = [
        codebook[index.clamp(min=0)].where((index >= 0)[..., None], 0.0)
        for codebook, index in zip(codebooks, indices.unbind(-1), strict=False)
    ]
    missing = len(codebooks) - len(codes)
    return torch.stack(codes + [torch.zeros_like(codes[0])] * missing)


def sum_of(codes: Tensor) -> Tensor:
    """codes [Q, ..., D] → [..., D], added in the order of the stages, as the forward does: the same bits."""
    total = torch.zeros_like(codes[0])
    for code in codes.unbind():
        total = total + code
    return total
