"""`gaussian_logsumexp`: the log-density of a mixture of diagonal Gaussians, without the [B, K, D] tensor."""

import math
from collections.abc import Sequence
from typing import Any, Literal, overload

import torch
from torch import Tensor
from torch.autograd import Function

from .. import reference
from ._autograd import first_order
from ._checks import FLOATS
from ._dispatch import Impl, choose, run


@overload
def gaussian_logsumexp(
    z: Tensor,
    mean: Tensor,
    logvar: Tensor,
    log_weight: Tensor | None = None,
    *,
    diagonals: Sequence[float] = (),
    per_dim: Literal[False] = False,
    impl: Impl | None = None,
) -> Tensor: ...


@overload
def gaussian_logsumexp(
    z: Tensor,
    mean: Tensor,
    logvar: Tensor,
    log_weight: Tensor | None = None,
    *,
    diagonals: Sequence[float] = (),
    per_dim: Literal[True],
    impl: Impl | None = None,
) -> tuple[Tensor, Tensor]: ...


def gaussian_logsumexp(
    z: Tensor,
    mean: Tensor,
    logvar: Tensor,
    log_weight: Tensor | None = None,
    *,
    diagonals: Sequence[float] = (),
    per_dim: bool = False,
    impl: Impl | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """log Σ_k w_k N(z; μ_k, σ²_k), the log-density of a mixture of diagonal Gaussians, and its marginals in one call.

    With the posteriors of a batch as components it is the aggregate posterior that β-TCVAE decomposes (Chen et al.
    2018, arXiv:1802.04942); with learned ones a mixture or Vamp prior (Tomczak & Welling 2018, arXiv:1705.07120).

    Nothing of size [B, K] is stored, forward or backward. z - μ is squared as it is, so small σ cost no accuracy.

    Args:
        z: points, `[B, D]`. float16, bfloat16, float32, where arithmetic is float32; or, where all tensors are,
            float64, by the reference.
        mean, logvar: components, `[K, D]`, of any floating dtype but for that.
        log_weight: ln w, `[K]` float32; not normalised here. None: every w is 1. -inf leaves a component out.
        diagonals: for row b, component (b + j) modulo K has the log-weight `diagonals[j]` instead: what stratified
            sampling gives the point's own posterior and one other. -inf leaves it out. No gradient reaches them.
        per_dim: also return the marginals.
        impl: force "reference", "portable" or "triton"; None lets the device decide.

    Returns:
        joint: `[B]`, nats, float32 (float64 for float64); with per_dim also marginals, `[B, D]`: log Σ_k w_k N(z_d;
        μ_kd, σ²_kd). Gradients go to z, mean, logvar and log_weight; deterministic.

    Raises:
        TypeError, ValueError: a dtype, shape, device or option that does not fit, named.
    """
    _check(z, mean, logvar, log_weight, diagonals)
    impl_ = choose(impl, *[t for t in (z, mean, logvar, log_weight) if t is not None])
    values = [float(value) for value in diagonals]
    if impl_ == "reference":
        joint, marginals = reference.gaussian_logsumexp(z, mean, logvar, log_weight, values)
    else:
        joint, marginals = _GaussianLogsumexp.apply(z, mean, logvar, log_weight, values, per_dim, impl_)
    return (joint, marginals) if per_dim else joint


class _GaussianLogsumexp(Function):
    """Saves its inputs and outputs."""

    @staticmethod
    def forward(
        z: Tensor,
        mean: Tensor,
        logvar: Tensor,
        log_weight: Tensor | None,
        diagonals: list[float],
        per_dim: bool,
        impl: str,
    ) -> tuple[Tensor, Tensor]:
        return run("gaussian_logsumexp", impl, z, mean, logvar, log_weight, diagonals, per_dim)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs[:4], *output)
        ctx.diagonals, ctx.per_dim, ctx.impl = inputs[4:]
        ctx.set_materialize_grads(False)

    @staticmethod
    @first_order
    def backward(ctx: Any, grad_joint: Tensor | None, grad_marginals: Tensor | None) -> tuple[Tensor | None, ...]:
        *tensors, joint, marginals = ctx.saved_tensors
        grad_marginals = grad_marginals if ctx.per_dim else None
        if grad_joint is None and grad_marginals is None:
            return (None,) * 7
        args = (grad_joint, grad_marginals, joint, marginals, *tensors, ctx.diagonals)
        grads = run("gaussian_logsumexp_backward", ctx.impl, *args)
        wanted = [grad if needed else None for grad, needed in zip(grads, ctx.needs_input_grad, strict=False)]
        return *wanted, None, None, None


def _check(z: Tensor, mean: Tensor, logvar: Tensor, log_weight: Tensor | None, diagonals: Sequence[float]) -> None:
    for name, tensor in {"z": z, "mean": mean, "logvar": logvar, "log_weight": log_weight}.items():
        if tensor is None and name == "log_weight":
            continue
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor; got {type(tensor).__name__}")
        if tensor.dtype not in FLOATS:
            raise TypeError(f"{name} must be float16, bfloat16, float32 or float64; got {tensor.dtype}")
        if tensor.device != z.device:
            raise ValueError(f"{name} must be on z's device, {z.device}; got {tensor.device}")
    if z.ndim != 2 or z.shape[1] == 0:
        raise ValueError(f"z must have shape [B, D], D at least 1; got {tuple(z.shape)}")
    if mean.ndim != 2 or mean.shape[0] == 0 or mean.shape[1] != z.shape[1]:
        raise ValueError(f"mean must have shape [K, {z.shape[1]}], K at least 1; got {tuple(mean.shape)}")
    if logvar.shape != mean.shape:
        raise ValueError(f"logvar must have mean's shape, {tuple(mean.shape)}; got {tuple(logvar.shape)}")
    if log_weight is not None and log_weight.shape != mean.shape[:1]:
        raise ValueError(f"log_weight must have shape [{len(mean)}]; got {tuple(log_weight.shape)}")
    if log_weight is not None and log_weight.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"log_weight must be float32 (float64 with float64 z); got {log_weight.dtype}")
    dtypes = {"z": z.dtype, "mean": mean.dtype, "logvar": logvar.dtype}
    if log_weight is not None:
        dtypes["log_weight"] = log_weight.dtype
    if torch.float64 in dtypes.values() and set(dtypes.values()) != {torch.float64}:
        got = ", ".join(f"{name} {dtype}" for name, dtype in dtypes.items())
        raise TypeError(f"z, mean, logvar and log_weight must be float64 all or none; got {got}")
    numbers = isinstance(diagonals, list | tuple) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in diagonals
    )
    if not numbers:
        raise TypeError(f"diagonals must be numbers; got {diagonals!r}")
    if len(diagonals) > len(mean):
        raise ValueError(f"diagonals must be at most K = {len(mean)} numbers; got {len(diagonals)}")
    if not all(value < math.inf for value in diagonals):
        raise ValueError(f"diagonals must not be NaN or +inf (-inf leaves a component out); got {list(diagonals)}")
