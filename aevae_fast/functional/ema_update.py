"""`ema_update_`: move a codebook by exponential moving averages, in place."""

import torch
from torch import Tensor

from .. import reference
from ._checks import check_choice, check_device
from ._dispatch import Impl, choose, run


def ema_update_(
    codebook: Tensor,
    cluster_size: Tensor,
    embed_avg: Tensor,
    counts: Tensor,
    sums: Tensor,
    *,
    decay: float = 0.99,
    eps: float = 1e-5,
    metric: str = "euclidean",
    impl: Impl | None = None,
) -> None:
    """n ← decay·n + (1 - decay)·count, m ← decay·m + (1 - decay)·sum, e = m / n̂; van den Oord et al. 2017, A.1.

    n̂ = (n + eps)/(Σn + K·eps)·Σn is Laplace-smoothed; the smoothing never feeds back into n. Under metric="cosine"
    e = m/‖m‖. Counts that are all 0 leave everything as it was. One pass over K·D, nothing leaves the device.

    Args:
        codebook, embed_avg, sums: `[K, D]` float32: e, m, and the sums of `codebook_statistics`.
        cluster_size, counts: `[K]` float32: n, and the counts of `codebook_statistics`.
        decay: in [0, 1]. eps: above 0. metric: "euclidean" or "cosine".
        impl: force "reference", "portable" or "triton"; None lets the device decide.

    Returns:
        None: codebook, cluster_size and embed_avg are changed in place.

    Raises:
        TypeError, ValueError: a dtype, shape, device or option that does not fit, named.
    """
    check_choice("metric", metric, ("euclidean", "cosine"))
    if codebook.ndim != 2 or 0 in codebook.shape:
        raise ValueError(f"codebook must have shape [K, D] with K, D >= 1; got {tuple(codebook.shape)}")
    per_code = {"cluster_size": cluster_size, "counts": counts}
    per_element = {"embed_avg": embed_avg, "sums": sums}
    for name, tensor in {**per_code, **per_element}.items():
        expected = codebook.shape[:1] if name in per_code else codebook.shape
        if tensor.shape != expected:
            raise ValueError(f"{name} must have shape {tuple(expected)}; got {tuple(tensor.shape)}")
        if tensor.dtype != codebook.dtype or tensor.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"{name} and codebook must both be float32; got {tensor.dtype} and {codebook.dtype}")
        check_device(name, tensor, codebook)
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must lie in [0, 1]; got {decay}")
    if not eps > 0:
        raise ValueError(f"eps must be above 0; got {eps}")
    impl_ = choose(impl, codebook)
    state = (codebook.detach(), cluster_size, embed_avg)
    if impl_ == "reference":
        moved = reference.ema_update(*state, counts, sums, decay=decay, eps=eps, metric=metric)
        for old, new in zip(state, moved, strict=True):
            old.copy_(new)
        return
    dense = [tensor.contiguous() for tensor in state]  # kernels take rows one after the other
    run("ema_update_", impl_, *dense, counts.contiguous(), sums.contiguous(), decay, eps, metric == "cosine")
    for tensor, copy in zip(state, dense, strict=True):
        if copy.data_ptr() != tensor.data_ptr():
            tensor.copy_(copy)
