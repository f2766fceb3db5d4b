"""`gaussian_kl`: the KL divergence between diagonal Gaussians, in closed form."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from .. import reference
from ._autograd import first_order
from ._dispatch import Impl, choose, run
from ._latents import Layout, check_gaussian, check_options, check_sigma, halves, lay_out, pair_of


def gaussian_kl(
    mean: Tensor,
    logvar: Tensor | None = None,
    prior_mean: Tensor | None = None,
    prior_logvar: Tensor | None = None,
    *,
    dim: int = 1,
    parameterization: str = "logvar",
    clamp: tuple[float, float] | None = None,
    reduction: str = "batch",
    free_bits: float = 0.0,
    impl: Impl | None = None,
) -> Tensor:
    """KL(N(mean, σ²) ‖ N(m, s²)) = ½((mean - m)²/s² + eʷ - 1 - w), w = ln σ² - ln s²; Kingma & Welling 2014
    (arXiv:1312.6114), appendix B. Accurate where σ is near s, as eʷ - 1 - w is summed as a series there. Gradients are
    of first order; to differentiate them again take impl="reference".

    Args:
        mean, logvar: `[B, ...]`, any strides: chunks of one encoder output and channel-first maps are read in place.
            float16, bfloat16, float32; float64 goes to the reference. Without logvar, mean is that one output, which
            holds both, one half after the other along `dim`: then its gradient is written as one tensor.
        dim: the axis of the halves, of a mean that holds both; not the batch, axis 0.
        prior_mean, prior_logvar: m and ln s², broadcast to mean; 0 where absent. They may require grad.
        parameterization: what logvar holds: "logvar" ln σ², "logstd" ln σ, "std" σ, "softplus" ln(e^σ - 1). A negative
            σ is an error on a CPU, and NaN on a GPU and in a compiled graph, where the host does not look.
        clamp: (lo, hi) within which logvar, as it is given, is taken; its gradient is 1 at both ends, 0 beyond.
        reduction: "none": per element; "latent": summed over all but the batch, `[B]`; "batch": the mean of that.
        free_bits: nats that each element of the KL counts at least (Kingma et al. 2016); no gradient below.
        impl: force "reference", "portable" or "triton"; None lets the device decide.

    Returns:
        nats, float32 (float64 for float64): mean's shape, `[B]` or 0-d. An empty batch gives 0; an input that is not
        finite gives a KL that is not, even under a clamp.

    Raises:
        TypeError, ValueError: a dtype, shape, device or option that does not fit, named.
    """
    joined = mean if logvar is None else None
    mean, logvar = halves("mean", mean, dim) if logvar is None else (mean, logvar)
    check_gaussian(mean, logvar, prior_mean, prior_logvar)
    check_options(parameterization, clamp, free_bits, reduction, None)
    check_sigma(logvar, parameterization, clamp)
    impl_ = choose(impl, *[t for t in (mean, prior_mean, prior_logvar) if t is not None])
    options: dict[str, Any] = {"parameterization": parameterization, "clamp": clamp, "free_bits": free_bits}
    if impl_ == "reference":
        return reference.gaussian_kl(mean, logvar, prior_mean, prior_logvar, reduction=reduction, **options)
    layout = lay_out(mean, logvar, *both(mean, prior_mean, prior_logvar))
    parameters = layout.parameters(joined, dim)
    kl = _GaussianKL.apply(*parameters, parameterization, bounds(clamp), free_bits, reduction, impl_)
    return shaped(kl, layout, reduction)


def both(mean: Tensor, prior_mean: Tensor | None, prior_logvar: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """The prior's two in float32, where one is given; so that broadcast gradients are summed in float32."""
    if prior_mean is None and prior_logvar is None:
        return None, None
    zero = mean.new_zeros((), dtype=torch.float32)
    return zero if prior_mean is None else prior_mean.float(), zero if prior_logvar is None else prior_logvar.float()


def bounds(clamp: tuple[float, float] | None) -> list[float] | None:
    return None if clamp is None else [float(bound) for bound in clamp]


def shaped(kl: Tensor, layout: Layout, reduction: str) -> Tensor:
    """The KL of the [B, S, D] views in the caller's shape; "batch" turns the sum into the mean."""
    if reduction == "none":
        return layout.restore(kl)
    mean = layout.views[0]
    assert mean is not None
    return kl if reduction == "latent" else kl / max(mean.shape[0], 1)


class _GaussianKL(Function):
    """Views [B, S, D], or [B, 2, S, D] of both parameters. Saves them and nothing else."""

    @staticmethod
    def forward(
        mean: Tensor,
        logvar: Tensor | None,
        prior_mean: Tensor | None,
        prior_logvar: Tensor | None,
        parameterization: str,
        clamp: list[float] | None,
        free_bits: float,
        reduction: str,
        impl: str,
    ) -> Tensor:
        options = (parameterization, clamp, free_bits, reduction)
        return run("gaussian_kl", impl, *pair_of(mean, logvar), prior_mean, prior_logvar, *options)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:4])
        ctx.options, ctx.impl = inputs[4:7], inputs[8]

    @staticmethod
    @first_order
    def backward(ctx: Any, grad_kl: Tensor) -> tuple[Tensor | None, ...]:
        prior_grad = any(ctx.needs_input_grad[2:4])
        grads = run("gaussian_kl_backward", ctx.impl, grad_kl, *ctx.saved_tensors, *ctx.options, prior_grad)
        return *needed(grads, ctx.needs_input_grad), None, None, None, None, None


def needed(grads: tuple[Tensor, ...], needs: tuple[bool, ...]) -> list[Tensor | None]:
    return [grad if need else None for grad, need in zip(grads, needs[:4], strict=True)]
