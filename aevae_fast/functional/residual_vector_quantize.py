"""`residual_vector_quantize`: all stages of a residual quantizer in one pass, its backward in another."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import reference
from ._autograd import Accompanied
from ._checks import as_rows, check_choice, check_codebook, check_device, check_input, check_rows
from ._dispatch import Impl, choose, run
from ._residual_gradients import CarryStatistics, ResidualVectorQuantize
from .rotate_to import rotate_to
from .vector_quantize import ESTIMATORS

Pairs = Sequence[tuple[Tensor, Tensor]]


def residual_vector_quantize(
    x: Tensor,
    codebooks: Sequence[Tensor] | Tensor,
    *,
    commitment_weight: float = 0.25,
    codebook_weight: float = 1.0,
    detach_residual: bool = True,
    active: Tensor | None = None,
    mask: Tensor | None = None,
    dim: int = -1,
    estimator: str = "straight_through",
    statistics: Pairs | None = None,
    impl: Impl | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Replace each vector of x by a sum of codes, one a stage, each nearest to what the stages before it left over;
    Zeghidour et al. 2021 (arXiv:2107.03312), algorithm 1. "Nearest" is by Euclidean distance.

    r_0 = x and r_{q+1} = r_q - c_q, in float32. Nothing as large as x is kept for a stage, neither between stages nor
    for the backward pass.

    Args:
        x: vectors of size D along axis `dim`, any strides: `[..., D]`, or `[B, D, T]` with `dim=1`, read and written
            in place. float16, bfloat16, float32; float64 goes to the reference.
        codebooks: of Q stages, each `[K_q, D]` float32, or one tensor `[Q, K, D]`. One codebook may stand for several
            stages. A stage's codebook gets the gradient of its own codebook term alone.
        commitment_weight: weight of mean (r_q - sg[c_q])², which pulls x.
        codebook_weight: weight of mean (sg[r_q] - c_q)², which pulls the code.
        detach_residual: subtract codes that carry no gradient, so that the commitment term of every stage reaches x.
            False: they carry the straight-through gradient, and only the first stage's term reaches x.
        active: 0-d int64 on x's device, how many stages, from the first, are used; None: all. Its value is not read
            here: it may change from step to step without waiting for the device.
        mask: bool, x's shape without `dim`, True for vectors that count.
        dim: the axis of x that holds D.
        estimator: of the gradient through the choice, once for the sum: "straight_through" passes it unchanged,
            "rotation" turns it and scales it as `rotate_to` does.
        statistics: for each stage two leaves that require grad, `[K_q]` and `[K_q, D]` float32. Their gradients become
            the count and the sum of the residuals that chose each code, as in `vector_quantize`. The same two may stand
            for several stages, and get what these add up to.
        impl: force "reference", "portable" or "triton"; None lets the device decide.

    Returns:
        quantized: like x (dtype, shape, strides). Its value is Σ c_q; its gradient goes to x.
        indices: int64, x's shape without `dim`, and Q; -1 where masked, not finite or of a stage that is not active.
        losses: `[Q]` float32 (float64 for float64 x); means over the elements that count, 0 for stages not active. Not
            finite if a vector that counts is not.

    Raises:
        TypeError, ValueError: a dtype, shape, device or option that does not fit, named.
    """
    check_choice("estimator", estimator, ESTIMATORS)
    check_input(x, dim)
    stages = check_codebooks(codebooks, x, dim)
    if mask is not None:
        check_rows("mask", mask, torch.bool, x, dim)
    check_active(active, x)
    for name, weight in (("commitment_weight", commitment_weight), ("codebook_weight", codebook_weight)):
        if not weight >= 0:
            raise ValueError(f"{name} must be at least 0; got {weight}")
    leaves = _check_statistics(statistics, stages)
    impl_ = choose(impl, x, *stages)
    last = x.movedim(dim, -1)
    if impl_ == "reference":
        weights = {"commitment_weight": commitment_weight, "codebook_weight": codebook_weight}
        quantized, indices, losses = reference.residual_vector_quantize(
            last, stages, **weights, detach_residual=detach_residual, active=active, mask=mask
        )
        if leaves:
            args = (quantized, losses, last.detach(), indices, [codes.detach() for codes in stages], *leaves)
            quantized, losses = CarryStatistics.apply(*args)
    else:
        rows = as_rows(x, dim)
        row_mask = None if mask is None else mask.reshape(rows.shape[:2])
        options = (commitment_weight, codebook_weight, detach_residual)
        # One leaf at least: where nothing needs a gradient, torch.compile takes a call with as many arguments as the
        # function has names for one without a context.
        leaves_ = leaves or (None,)
        args = (rows, _joined(codebooks), active, row_mask, [len(codes) for codes in stages], options, impl_, *leaves_)
        quantized, indices, losses = ResidualVectorQuantize.apply(*args)
        quantized, indices = quantized.reshape(last.shape), indices.reshape(*last.shape[:-1], len(stages))
    quantized = quantized.movedim(-1, dim)
    if estimator == "rotation":
        source = x if mask is None else x.where(mask.unsqueeze(dim), 0.0)  # what is masked gets no gradient
        turned = rotate_to(source, quantized.detach(), dim=dim, impl=impl)
        quantized = turned if statistics is None else Accompanied.apply(turned, quantized)
    return quantized, indices, losses


def residual_statistics(
    x: Tensor, codebooks: Sequence[Tensor] | Tensor, indices: Tensor, *, dim: int = -1, impl: Impl | None = None
) -> list[tuple[Tensor, Tensor]]:
    """Of each stage the count and the sum of the residuals that chose each code: what its EMA update is made of.

    Args:
        x, codebooks, dim: as `residual_vector_quantize` was given them.
        indices: int64, what it returned: x's shape without `dim`, and Q; -1 to skip.
        impl: force "reference", "portable" or "triton"; None lets the device decide.

    Returns:
        For each stage counts `[K_q]` and sums `[K_q, D]`, float32; two runs agree bit for bit.

    Raises:
        TypeError, ValueError: a dtype, shape or device that does not fit, named. The values of the indices are not
            read: on a GPU that would wait for the device.
    """
    check_input(x, dim)
    stages = check_codebooks(codebooks, x, dim)
    if not isinstance(indices, Tensor):
        raise TypeError(f"indices must be a torch.Tensor; got {type(indices).__name__}")
    last = x.detach().movedim(dim, -1)
    expected = (*last.shape[:-1], len(stages))
    if tuple(indices.shape) != expected:
        raise ValueError(f"indices must have shape {expected}, one for each stage; got {tuple(indices.shape)}")
    check_rows("indices", indices[..., 0], torch.int64, x, dim)
    impl_ = choose(impl, x, *stages)
    if impl_ == "reference":
        return reference.residual_statistics(last, [codes.detach() for codes in stages], indices)
    rows, sizes = as_rows(x.detach(), dim), [len(codes) for codes in stages]
    row_indices = indices.reshape(*rows.shape[:2], len(stages))
    found = run("residual_statistics", impl_, rows, _joined(codebooks).detach(), sizes, row_indices, False)
    return list(zip(*(part.split(sizes) for part in found), strict=True))


def check_codebooks(codebooks: Sequence[Tensor] | Tensor, x: Tensor, dim: int) -> list[Tensor]:
    """The codebook of each stage, checked."""
    if isinstance(codebooks, Tensor):
        if codebooks.ndim != 3:
            raise ValueError(
                f"codebooks must be a sequence of [K, D] tensors or one [Q, K, D]; got shape {tuple(codebooks.shape)}"
            )
    elif not isinstance(codebooks, Sequence):
        raise TypeError(f"codebooks must be a sequence of tensors or a torch.Tensor; got {type(codebooks).__name__}")
    stages = list(codebooks)
    if not stages:
        raise ValueError("codebooks must hold at least one stage; got none")
    for number, codes in enumerate(stages):
        check_codebook(codes, x, dim, name=f"codebooks[{number}]")
        if codes.dtype != stages[0].dtype:
            raise TypeError(f"codebooks must share one dtype; got {stages[0].dtype} and {codes.dtype} ({number})")
    return stages


def check_active(active: Tensor | None, x: Tensor) -> None:
    """Can it say how many stages are used? Its value is not read."""
    if active is None:
        return
    if not isinstance(active, Tensor):
        raise TypeError(f"active must be a torch.Tensor, 0-d int64, or None; got {type(active).__name__}")
    if active.dtype != torch.int64:
        raise TypeError(f"active must be torch.int64; got {active.dtype}")
    if active.ndim != 0:
        raise ValueError(f"active must have no axes, one number for all of x; got shape {tuple(active.shape)}")
    check_device("active", active, x)


def _check_statistics(statistics: Pairs | None, stages: list[Tensor]) -> list[Tensor]:
    """Its leaves, one after another: none where there are no statistics to take."""
    if statistics is None:
        return []
    if len(statistics) != len(stages):
        raise ValueError(
            f"statistics must hold a pair of leaves for each of {len(stages)} stages; got {len(statistics)}"
        )
    for number, (pair, codes) in enumerate(zip(statistics, stages, strict=True)):
        found, expected = [tuple(leaf.shape) for leaf in pair], [tuple(codes.shape[:1]), tuple(codes.shape)]
        if found != expected:
            raise ValueError(f"statistics[{number}] must have shapes {expected[0]} and {expected[1]}; got {found}")
    return [leaf for pair in statistics for leaf in pair]


def _joined(codebooks: Sequence[Tensor] | Tensor) -> Tensor:
    """All codes, stage after stage: [ΣK, D], contiguous."""
    return codebooks.flatten(0, 1).contiguous() if isinstance(codebooks, Tensor) else torch.cat(list(codebooks))
