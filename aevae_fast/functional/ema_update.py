"""`ema_update_`: move a codebook by exponential moving averages, in place."""

import torch
from torch import Tensor

from .. import reference
from ._checks import check_choice, check_device
from ._dispatch import Impl, choose, run

# A code counts as dead below this share of uniform usage, unless a threshold is given, and comes back with a count just
# above it: it follows its new vectors at once, and has about five steps at decay 0.99 to find any.
DEAD_SHARE, GRACE = 1 / 2, 1.05


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
    replacements: Tensor | None = None,
    dead_code_threshold: float | None = None,
    steps: Tensor | None = None,
    impl: Impl | None = None,
) -> None:
    """n ← decay·n + (1 - decay)·count, m ← decay·m + (1 - decay)·sum, e = m / n̂; van den Oord et al. 2017, A.1.

    n̂ = (n + eps)/(Σn + K·eps)·Σn is Laplace-smoothed; the smoothing never feeds back into n. Under metric="cosine"
    e = m/‖m‖. Counts that are all 0 leave everything as it was. One pass over K·D, nothing leaves the device.

    Given replacements, a code that is dead afterwards takes its own, r: e = r, n = 1.05 times the threshold, m = r·n.

    Args:
        codebook, embed_avg, sums: `[K, D]` float32: e, m, and the sums of `codebook_statistics`.
        cluster_size, counts: `[K]` float32: n, and the counts of `codebook_statistics`.
        decay: in [0, 1]. eps: above 0. metric: "euclidean" or "cosine".
        replacements: `[K, D + 1]` float32: for each code j vectors r added up, and j; none where j is 0.
        dead_code_threshold: n below which a code is dead; None: half of the mean of n.
        steps: 0-d int64, how often anything was counted: 1 is added where it was.
        impl: force "reference", "portable" or "triton"; None lets the device decide.

    Returns:
        None: codebook, cluster_size and embed_avg, and steps, are changed in place.

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
    _check_replacing(codebook, replacements, dead_code_threshold, steps)
    impl_ = choose(impl, codebook)
    state = (codebook.detach(), cluster_size, embed_avg)
    if impl_ == "reference":
        moved = reference.ema_update(*state, counts, sums, decay=decay, eps=eps, metric=metric)
        if replacements is not None and counts.any():
            threshold = DEAD_SHARE * moved[1].mean() if dead_code_threshold is None else dead_code_threshold
            moved = reference.replace_dead(*moved, replacements, threshold=threshold, grace=GRACE)
        for old, new in zip(state, moved, strict=True):
            old.copy_(new)
        if steps is not None:
            steps += counts.any()
        return
    dense = [tensor.contiguous() for tensor in state]  # kernels take rows one after the other
    limits = (DEAD_SHARE, 0.0) if dead_code_threshold is None else (0.0, float(dead_code_threshold))
    replacing = (None if replacements is None else replacements.contiguous(), *limits, GRACE, steps)
    given = (counts.contiguous(), sums.contiguous(), decay, eps, metric == "cosine")
    run("ema_update_", impl_, *dense, *given, *replacing)
    for tensor, copy in zip(state, dense, strict=True):
        if copy.data_ptr() != tensor.data_ptr():
            tensor.copy_(copy)


def _check_replacing(
    codebook: Tensor, replacements: Tensor | None, dead_code_threshold: float | None, steps: Tensor | None
) -> None:
    if replacements is not None:
        expected = (codebook.shape[0], codebook.shape[1] + 1)
        if replacements.shape != expected or replacements.dtype != codebook.dtype:
            raise ValueError(
                f"replacements must have shape {expected} and codebook's dtype, {codebook.dtype}; "
                f"got {tuple(replacements.shape)}, {replacements.dtype}"
            )
        check_device("replacements", replacements, codebook)
    if dead_code_threshold is not None and not dead_code_threshold >= 0:
        raise ValueError(f"dead_code_threshold must be None or at least 0; got {dead_code_threshold}")
    if steps is not None:
        if steps.ndim or steps.dtype != torch.int64:
            raise ValueError(f"steps must be a 0-d int64 tensor; got {tuple(steps.shape)}, {steps.dtype}")
        check_device("steps", steps, codebook)
