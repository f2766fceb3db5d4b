"""What a residual quantizer's arguments must be, and what they say together."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .codebook import Codebook
from .vector_quantize import VectorQuantize

_OF_THE_WHOLE = ("heads", "separate_codebook_per_head", "layernorm_after_project_in")


def fits_one_operation(stage: VectorQuantize) -> bool:
    """Whether the operation that does all stages at once does what this stage does."""
    plain = not stage.use_cosine_sim and not stage.stochastic_sample_codes and not stage.regularizers.active
    return plain and stage.estimator in ("straight_through", "rotation") and type(stage._codebook) is Codebook


def stage_sizes(codebook_size: int | Sequence[int], num_quantizers: int | None, shared: bool) -> tuple[int, ...]:
    """The number of codes of each stage."""
    if num_quantizers is not None and not isinstance(num_quantizers, int):
        raise TypeError(f"num_quantizers must be an int; got {num_quantizers!r}")
    if num_quantizers is not None and num_quantizers < 1:
        raise ValueError(f"num_quantizers must be at least 1; got {num_quantizers}")
    if isinstance(codebook_size, int):
        if num_quantizers is None:
            raise ValueError("num_quantizers must be given where codebook_size is one number for all stages")
        return (codebook_size,) * num_quantizers
    if not isinstance(codebook_size, (tuple, list)):
        raise TypeError(f"codebook_size must be an int or a sequence of them; got {codebook_size!r}")
    sizes = tuple(codebook_size)
    if not sizes:
        raise ValueError("codebook_size must hold the size of at least one stage; got none")
    if num_quantizers not in (None, len(sizes)):
        raise ValueError(f"codebook_size must hold num_quantizers = {num_quantizers} sizes; got {len(sizes)}")
    if shared and len(set(sizes)) > 1:
        raise ValueError(f"codebook_size must be the same for all stages of a shared codebook; got {sizes}")
    return sizes


def check_stage_options(options: Mapping[str, Any]) -> None:
    """Refuse what has no meaning for a stage."""
    for name in _OF_THE_WHOLE:
        if name in options and options[name] not in (1, False):
            raise ValueError(f"{name} has no meaning in residual stages, whose vectors are one; got {options[name]!r}")


def check_beams(at_once: bool, **sizes: int | None) -> None:
    for name, size in sizes.items():
        if size is None:
            continue
        if not isinstance(size, int):
            raise TypeError(f"{name} must be an int or None; got {size!r}")
        if size < 1:
            raise ValueError(f"{name} must be at least 1; got {size}")
        if size > 1 and not at_once:
            raise ValueError(f"{name} above 1 needs Euclidean stages without options of their own; got {size}")


def check_targets(indices: Tensor, shape: tuple[int, ...]) -> None:
    """indices whose cross-entropy is wanted; their values are not read, which would wait for the device."""
    if not isinstance(indices, Tensor):
        raise TypeError(f"indices must be a torch.Tensor; got {type(indices).__name__}")
    if indices.dtype != torch.int64:
        raise TypeError(f"indices must be torch.int64; got {indices.dtype}")
    if tuple(indices.shape) != shape:
        raise ValueError(f"indices must have shape {shape}, one for each stage; got {tuple(indices.shape)}")
