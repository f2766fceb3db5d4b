"""`nearest_codes`: the k nearest codebook vectors and their distances."""

import torch
from torch import Tensor

from .. import reference
from ._checks import METRICS, as_rows, check_choice, check_codebook, check_input
from ._dispatch import Impl
from ._plain_ops import by_reference


def nearest_codes(
    x: Tensor, codebook: Tensor, k: int, *, metric: str = "euclidean", dim: int = -1, impl: Impl | None = None
) -> tuple[Tensor, Tensor]:
    """The k codes nearest to each vector of x, without the [N, K] distance matrix.

    Args:
        x: vectors of size D along axis `dim`, any strides. float16, bfloat16, float32; float64 goes to the reference.
        codebook: `[K, D]` float32.
        k: how many, 1 to K.
        metric: "euclidean", "cosine" or "dot".
        dim: the axis of x that holds D.
        impl: force "reference" or "portable"; there is no kernel of this operation.

    Returns:
        indices: `[..., k]` int64, x's shape without `dim` and k; nearest first, the lowest index first on a tie. Which
            codes are nearest is decided as by `nearest_code`. -1 for a vector that is not finite.
        distances: `[..., k]` float32 (float64 for float64 x): Σ(x - c)², 1 - cos(x, c) or -x·c; NaN for a vector that
            is not finite. No gradient.

    Raises:
        TypeError, ValueError: a dtype, shape, device or option that does not fit, named.
    """
    check_choice("metric", metric, METRICS)
    check_input(x, dim)
    check_codebook(codebook, x, dim)
    if not isinstance(k, int):
        raise TypeError(f"k must be an int; got {k!r}")
    if not 1 <= k <= len(codebook):
        raise ValueError(f"k must lie in [1, {len(codebook)}], the number of codes; got {k}")
    plain = by_reference(impl, "nearest_codes", x, codebook)
    x, codebook = x.detach(), codebook.detach()
    last = x.movedim(dim, -1)
    if plain:
        return reference.nearest_codes(last, codebook, k, metric)
    indices, distances = torch.ops.aevae_fast.nearest_codes(as_rows(x, dim), codebook.contiguous(), k, metric)
    return indices.reshape(*last.shape[:-1], k), distances.reshape(*last.shape[:-1], k)
