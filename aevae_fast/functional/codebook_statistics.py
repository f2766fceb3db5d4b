"""`codebook_statistics`: how many vectors chose each code, and their sum."""

import torch
from torch import Tensor

from .. import reference
from ._checks import as_rows, check_input, check_rows
from ._dispatch import Impl, choose, run


def codebook_statistics(
    x: Tensor, indices: Tensor, codebook_size: int, *, dim: int = -1, impl: Impl | None = None
) -> tuple[Tensor, Tensor]:
    """Count and sum of the vectors that chose each code; what the EMA update and the codebook's gradient are made of.

    Args:
        x: vectors of size D along axis `dim`, any strides. float16, bfloat16, float32; float64 goes to the reference.
        indices: int64, x's shape without `dim`, in [0, codebook_size), or -1 for a vector to skip.
        codebook_size: K.
        dim: the axis of x that holds D.
        impl: force "reference", "portable" or "triton"; None lets the device decide.

    Returns:
        counts `[K]` and sums `[K, D]`, float32, accumulated in float32; two runs agree bit for bit.

    Raises:
        TypeError, ValueError: a dtype, shape, device or size that does not fit, named. The values of the indices are
            not read: on a GPU that would wait for the device.
    """
    check_input(x, dim)
    check_rows("indices", indices, torch.int64, x, dim)
    if codebook_size < 1:
        raise ValueError(f"codebook_size must be at least 1; got {codebook_size}")
    impl_ = choose(impl, x)
    x = x.detach()
    if impl_ == "reference":
        return reference.codebook_statistics(x.movedim(dim, -1), indices, codebook_size)
    rows = as_rows(x, dim)
    return run("codebook_statistics", impl_, rows, indices.reshape(rows.shape[:2]), codebook_size, None)
