"""`maximum_mean_discrepancy`: how far two samples are from one distribution, by a kernel."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

Kernel = Literal["imq", "rbf"]


def maximum_mean_discrepancy(
    x: Tensor, y: Tensor, *, kernel: Kernel = "imq", bandwidth: float | None = None, scales: Sequence[float] = (1.0,)
) -> Tensor:
    """MMD² of the distributions of x and y, estimated without bias (Gretton et al. 2012, lemma 6): below 0 at times.

    mean_{i≠j} k(x_i, x_j) + mean_{i≠j} k(y_i, y_j) - 2·mean_{ij} k(x_i, y_j), with k summed over scales s:

    - "imq": k(a, b) = s·c / (s·c + ‖a - b‖²), the inverse multiquadratic kernel of Tolstikhin et al. 2018;
    - "rbf": k(a, b) = exp(-‖a - b‖² / (s·c)), the Gaussian kernel of Zhao et al. 2017.

    Memory grows with N² + M² + N·M, never times D.

    Args:
        x, y: `[N, D]` and `[M, D]`, at least 2 each; any floating dtype, arithmetic is float32 at the least.
        kernel: "imq" or "rbf".
        bandwidth: c, in squared units of x; None: 2·D, the mean of ‖a - b‖² for a, b ~ N(0, I).
        scales: s, one or more.

    Returns:
        0-d, float32 (float64 for float64).

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
    """
    check_kernel(kernel, bandwidth, scales)
    for name, tensor in {"x": x, "y": y}.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            got = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"{name} must be a floating-point tensor; got {got}")
        if tensor.ndim != 2 or tensor.shape[1] != x.shape[1]:
            raise ValueError(f"{name} must have shape [N, D], the same D for both; got {tuple(tensor.shape)}")
        if len(tensor) < 2:
            raise ValueError(f"{name} must be a batch of at least 2: pairs are compared; got {len(tensor)}")
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    x, y = x.to(dtype), y.to(dtype)
    widths = [scale * (2.0 * x.shape[1] if bandwidth is None else bandwidth) for scale in scales]

    def mean(a: Tensor, b: Tensor | None = None) -> Tensor:
        squared = _squared_distances(a - a.mean(0)) if b is None else _squared_distances(a, b)
        similar = sum(_KERNELS[kernel](squared, width) for width in widths)
        assert isinstance(similar, Tensor)
        if b is not None:
            return similar.mean()
        return (similar.sum() - similar.diagonal().sum()) / (len(a) * (len(a) - 1))

    return mean(x) + mean(y) - 2 * mean(x, y)


def check_kernel(kernel: str, bandwidth: float | None, scales: Sequence[float]) -> None:
    """Raise TypeError or ValueError naming the first of the options that does not fit."""
    if kernel not in get_args(Kernel):
        raise ValueError(f"kernel must be one of {', '.join(map(repr, get_args(Kernel)))}; got {kernel!r}")
    if not isinstance(scales, list | tuple) or not scales:
        raise TypeError(f"scales must be one or more numbers; got {scales!r}")
    for name, value in [("bandwidth", bandwidth), *(("scales", scale) for scale in scales)]:
        if name == "bandwidth" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name} must be a number; got {type(value).__name__}")
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} must be above 0 and finite; got {value}")


def _squared_distances(a: Tensor, b: Tensor | None = None) -> Tensor:
    """‖a_i - b_j‖² `[N, M]`, b = a where absent, as one matrix product: good to a rounding of ‖a_i‖² + ‖b_j‖², which
    counts little beside a kernel's width."""
    b = a if b is None else b
    with torch.autocast(a.device.type, enabled=False):  # which would round the product's operands
        product = a @ b.T
    return (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * product).clamp(min=0)


def _imq(squared: Tensor, width: float) -> Tensor:
    return width / (width + squared)


def _rbf(squared: Tensor, width: float) -> Tensor:
    return torch.exp(-squared / width)


_KERNELS = {"imq": _imq, "rbf": _rbf}
