"""`nearest_code`: the index of the nearest codebook vector."""

from torch import Tensor

from .. import reference
from ._checks import METRICS, as_rows, check_choice, check_codebook, check_input
from ._dispatch import Impl, choose, run


def nearest_code(
    x: Tensor, codebook: Tensor, *, metric: str = "euclidean", dim: int = -1, impl: Impl | None = None
) -> Tensor:
    """Index of the code nearest to each vector of x, exactly, without the [N, K] distance matrix.

    Args:
        x: vectors of size D along axis `dim`, any strides: `[..., D]`, or `[B, D, H, W]` with `dim=1`, read in place.
            float16, bfloat16, float32; float64 goes to the reference.
        codebook: `[K, D]` float32.
        metric: "euclidean" (least Σ(x - c)²), "cosine" (greatest cosine) or "dot" (greatest inner product).
        dim: the axis of x that holds D.
        impl: force "reference", "portable" or "triton"; None lets the device decide.

    Returns:
        int64 indices of x's shape without `dim`. It is the float64 argmin wherever the gap to the second best exceeds
        float32's own rounding of the distance; the lowest index on a tie; -1 for a vector that is not finite.

    Raises:
        TypeError, ValueError: a dtype, shape, device or option that does not fit, named.
    """
    check_choice("metric", metric, METRICS)
    check_input(x, dim)
    check_codebook(codebook, x, dim)
    impl_ = choose(impl, x, codebook)
    x, codebook = x.detach(), codebook.detach()
    if impl_ == "reference":
        return reference.nearest_code(x.movedim(dim, -1), codebook, metric)
    shape = x.movedim(dim, -1).shape[:-1]
    return run("nearest_code", impl_, as_rows(x, dim), codebook.contiguous(), metric).reshape(shape)
