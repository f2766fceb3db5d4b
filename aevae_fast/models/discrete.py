"""What models ask of a quantizer, whichever it is: to be made by name, how many codes, and the way back from indices.

Indices have the shape of the grid where a position takes one code, `[B, ...]`, and a last axis of stages where it takes
several, `[B, ..., Q]`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from aevae_fast import quantizers

from .checks import INTEGERS

# Mentzer et al. 2023 (arXiv:2309.15505), table 1: levels for about so many codes
_LEVELS = {256: (8, 6, 5), 1024: (8, 5, 5, 5), 4096: (7, 5, 5, 5, 5), 16384: (8, 8, 8, 6, 5), 65536: (8, 8, 8, 5, 5, 5)}


def _vq(dim: int, codebook_size: int, stages: int, **options: Any) -> nn.Module:
    return quantizers.VectorQuantize(dim, codebook_size, channel_last=False, **options)


def _residual(dim: int, codebook_size: int, stages: int, **options: Any) -> nn.Module:
    return quantizers.ResidualVQ(
        dim=dim, codebook_size=codebook_size, num_quantizers=stages, channel_last=False, **options
    )


def _fsq(dim: int, codebook_size: int, stages: int, **options: Any) -> nn.Module:
    if codebook_size not in _LEVELS:
        raise ValueError(f"codebook_size: expected one of {', '.join(map(str, _LEVELS))} for fsq, got {codebook_size}")
    return quantizers.FSQ(_LEVELS[codebook_size], dim=dim, channel_first=True, **options)


def _lfq(dim: int, codebook_size: int, stages: int, **options: Any) -> nn.Module:
    if codebook_size < 2 or codebook_size & (codebook_size - 1):
        raise ValueError(f"codebook_size: expected a power of two for lfq, got {codebook_size}")
    return quantizers.LFQ(dim=dim, codebook_size=codebook_size, channel_first=True, **options)


QUANTIZERS: dict[str, Callable[..., nn.Module]] = {"vq": _vq, "residual": _residual, "fsq": _fsq, "lfq": _lfq}
WITH_CODEBOOK = ("vq", "residual")  # these learn their codes, so that they have a decay and a first batch to start from
_STAGES = {"residual": 4}  # where nothing is said


def make_quantizer(name: str, dim: int, codebook_size: int, stages: int, options: Mapping[str, Any]) -> nn.Module:
    """A quantizer of `[B, dim, ...]`.

    Args:
        name: "vq"; "residual": `stages` codebooks one after another; "fsq": finite scalar quantization, whose
            codebook_size is about 256, 1024, 4096, 16384 or 65536; "lfq": lookup-free quantization.
        dim: size of the vectors.
        codebook_size: number of codes, of each stage.
        stages: codes a position; 1 but for "residual".
        options: further arguments of the quantizer's class.

    Raises:
        ValueError, TypeError: an argument that does not fit, named.
    """
    if name not in QUANTIZERS:
        raise ValueError(f"quantizer: expected one of {', '.join(QUANTIZERS)}, or a module, got {name!r}")
    if stages != 1 and name != "residual":
        raise ValueError(f"stages: expected 1 for {name}, got {stages}; residual takes more")
    return QUANTIZERS[name](dim, codebook_size, stages, **options)


def usual_stages(quantizer: object, stages: int | None) -> int:
    """`stages`, or where it is None the usual number for this quantizer: 4 for "residual", 1 for others."""
    return _STAGES.get(str(quantizer), 1) if stages is None else stages


def has_stages(quantizer: nn.Module) -> bool:
    """Whether indices have a last axis of stages."""
    return hasattr(quantizer, "num_quantizers")


def stage_sizes(quantizer: nn.Module) -> tuple[int, ...]:
    """Number of codes of each stage."""
    if hasattr(quantizer, "codebook_sizes"):
        return tuple(quantizer.codebook_sizes)  # type: ignore[arg-type]
    return (int(quantizer.codebook_size),) * getattr(quantizer, "num_quantizers", 1)  # type: ignore[arg-type]


def quantize(quantizer: nn.Module, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """quantized, indices, and the loss as a scalar: what the quantizer adds, summed over stages; 0 if nothing."""
    quantized, indices, *losses = quantizer(z)
    return quantized, indices, sum((loss.sum() for loss in losses), quantized.new_zeros((), dtype=torch.float32))


def decode_indices(quantizer: nn.Module, indices: Tensor) -> Tensor:
    """What the quantizer gives for `indices`, in the layout of its output; where there are stages also for the first
    few alone."""
    for name in ("get_output_from_indices", "get_codes_from_indices", "indices_to_codes"):
        if hasattr(quantizer, name):
            return getattr(quantizer, name)(indices)
    raise TypeError(f"quantizer: expected a method get_codes_from_indices, {type(quantizer).__name__} has none")


def codebook_of(quantizer: nn.Module, device: torch.device) -> Tensor:
    """The codes, `[K, D]`, of a quantizer of maps; of the first stage where there are several."""
    codebook = getattr(quantizer, "codebook", None)
    if isinstance(codebook, Tensor):
        return codebook
    every = torch.arange(stage_sizes(quantizer)[0], device=device)[:, None, None]  # maps of one position
    return decode_indices(quantizer, every[..., None] if has_stages(quantizer) else every).flatten(1)


def check_code_indices(indices: Tensor, quantizer: nn.Module, *grid: str) -> None:
    """Raise TypeError or ValueError unless `indices` are integers `[B, *grid]`, or `[B, *grid, n]` with n at most the
    number of stages where the quantizer has stages; each within its stage's codebook."""
    if indices.dtype not in INTEGERS:
        raise TypeError(f"indices: expected an integer tensor, got {indices.dtype}")
    sizes, several = stage_sizes(quantizer), has_stages(quantizer)
    layout = ", ".join(["B", *grid, *([f"1 to {len(sizes)}"] if several else [])])
    if indices.ndim != 1 + len(grid) + several or (several and not 1 <= indices.shape[-1] <= len(sizes)):
        raise ValueError(f"indices: expected shape [{layout}], got {list(indices.shape)}")
    for stage, (size, chosen) in enumerate(zip(sizes, indices.unbind(-1) if several else [indices], strict=False)):
        if chosen.numel() and not (chosen.min() >= 0 and chosen.max() < size):
            of = f" of stage {stage + 1}" if several else ""
            raise ValueError(
                f"indices: expected values in [0, {size}) (codebook_size){of}, "
                f"got [{int(chosen.min())}, {int(chosen.max())}]"
            )


def bits(sizes: Sequence[int]) -> float:
    """Bits that store one position's codes at a fixed length, Σ log2 K."""
    return sum(math.log2(size) for size in sizes)
