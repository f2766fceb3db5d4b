"""`reparameterize_kl`: a sample of a diagonal Gaussian and its KL in one pass, the noise never stored."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from .. import reference
from ._autograd import first_order
from ._dispatch import Impl, choose, run
from ._latents import check_gaussian, check_generator, check_options, check_sigma, halves, lay_out, pair_of
from .gaussian_kl import both, bounds, needed, shaped


def reparameterize_kl(
    mean: Tensor,
    logvar: Tensor | None = None,
    *,
    dim: int = 1,
    generator: torch.Generator | None = None,
    parameterization: str = "logvar",
    clamp: tuple[float, float] | None = None,
    reduction: str = "batch",
    samples: int | None = None,
    free_bits: float = 0.0,
    prior_mean: Tensor | None = None,
    prior_logvar: Tensor | None = None,
    impl: Impl | None = None,
) -> tuple[Tensor, Tensor]:
    """z = mean + σ·ε, ε ~ N(0, 1), and KL(N(mean, σ²) ‖ prior); Kingma & Welling 2014 (arXiv:1312.6114).

    One pass forward and one backward. A seed of 64 bits is drawn from torch's generator, on the device. The noise
    follows from it and from an element's place in mean's memory, and is drawn again for the gradient, so that only the
    inputs and the seed are kept. The same generator state gives the same z for the same layout on the same device; on a
    CPU a prior that broadcasts along some axes only belongs to the layout. Ranks whose generators are seeded alike draw
    alike: for noise of its own seed each by its rank, as in `torch.manual_seed(seed + rank)`.

    Gradients are of first order; to differentiate them again take impl="reference".

    Args:
        mean, logvar: `[B, ...]`, any strides: chunks of one encoder output and channel-first maps are read in place.
            float16, bfloat16, float32; float64 goes to the reference. Without logvar, mean is that one output, which
            holds both, one half after the other along `dim`: then its gradient is written as one tensor, where those
            of two chunks are copied into one.
        dim: the axis of the halves, of a mean that holds both; not the batch, axis 0.
        generator: on mean's device; torch's default one where absent. `torch.compile` does not trace generators: seed
            the default one there. Reentrant checkpointing does not put them back: its gradient would belong to other
            noise. Non-reentrant checkpointing is safe, but for the reference.
        parameterization: what logvar holds: "logvar" ln σ², "logstd" ln σ, "std" σ, "softplus" ln(e^σ - 1). A negative
            σ is an error on a CPU, and NaN on a GPU and in a compiled graph, where the host does not look.
        clamp: (lo, hi) within which logvar, as it is given, is taken; its gradient is 1 at both ends, 0 beyond.
        reduction: of the KL. "none": per element; "latent": summed over all but the batch, `[B]`; "batch": the mean of
            that.
        samples: how many z to draw for each input; None: one, with no axis for it.
        free_bits: nats that each element of the KL counts at least (Kingma et al. 2016); no gradient below.
        prior_mean, prior_logvar: mean and ln variance of the prior, broadcast to mean; 0 where absent. They may require
            grad.
        impl: force "reference", "portable" or "triton"; None lets the device decide. The reference draws the noise that
            the Triton kernels draw; the portable form draws its own.

    Returns:
        z: mean's dtype and shape (a half's, where it holds both), `[samples, *mean.shape]` where samples is given; in
            the order of mean's memory.
        kl: nats, float32 (float64 for float64): mean's shape, `[B]` or 0-d. An empty batch gives 0; an input that is
            not finite gives a KL that is not, even under a clamp.

    Raises:
        TypeError, ValueError: a dtype, shape, device or option that does not fit, named.
    """
    joined = mean if logvar is None else None
    mean, logvar = halves("mean", mean, dim) if logvar is None else (mean, logvar)
    check_gaussian(mean, logvar, prior_mean, prior_logvar)
    check_options(parameterization, clamp, free_bits, reduction, samples)
    check_sigma(logvar, parameterization, clamp)
    check_generator(generator, mean)
    impl_ = choose(impl, *[t for t in (mean, prior_mean, prior_logvar) if t is not None])
    options: dict[str, Any] = {"parameterization": parameterization, "clamp": clamp, "free_bits": free_bits}
    layout = lay_out(mean, logvar, *both(mean, prior_mean, prior_logvar))
    view = layout.views[0]
    assert view is not None
    count = 1 if samples is None else samples
    seed = torch.randint(-(2**63), 2**63 - 1, (1,), device=mean.device, generator=generator)
    if impl_ == "reference":
        dtype = torch.promote_types(mean.dtype, torch.float32)
        noise = reference.philox.standard_normal(seed, count, mean.numel(), dtype)
        eps = layout.restore(noise.view(count, *view.shape))
        eps = eps[0] if samples is None else eps
        priors = (prior_mean, prior_logvar)
        return reference.reparameterize_kl(mean, logvar, eps, *priors, reduction=reduction, **options)
    parameters = layout.parameters(joined, dim)
    z, kl = _ReparameterizeKL.apply(
        *parameters, seed, count, parameterization, bounds(clamp), free_bits, reduction, impl_
    )
    z = layout.restore(z)
    # Not z[0], whose gradient would be copied into zeros.
    return z.squeeze(0) if samples is None else z, shaped(kl, layout, reduction)


class _ReparameterizeKL(Function):
    """Views [B, S, D], or [B, 2, S, D] of both parameters. Keeps them and the seed, nothing else."""

    @staticmethod
    def forward(
        mean: Tensor,
        logvar: Tensor | None,
        prior_mean: Tensor | None,
        prior_logvar: Tensor | None,
        seed: Tensor,
        samples: int,
        parameterization: str,
        clamp: list[float] | None,
        free_bits: float,
        reduction: str,
        impl: str,
    ) -> tuple[Tensor, Tensor]:
        options = (samples, parameterization, clamp, free_bits, reduction)
        return run("reparameterize_kl", impl, *pair_of(mean, logvar), prior_mean, prior_logvar, seed, *options)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs[:4])
        # Not saved: non-reentrant checkpointing computes what is saved again, with another seed from a generator.
        ctx.seed, ctx.options, ctx.impl = inputs[4], inputs[6:9], inputs[10]
        ctx.set_materialize_grads(False)

    @staticmethod
    @first_order
    def backward(ctx: Any, grad_z: Tensor | None, grad_kl: Tensor | None) -> tuple[Tensor | None, ...]:
        tensors = ctx.saved_tensors
        prior_grad = any(ctx.needs_input_grad[2:4])
        if grad_z is not None:
            args = (grad_z, grad_kl, *tensors, ctx.seed, *ctx.options, prior_grad)
            grads = run("reparameterize_kl_backward", ctx.impl, *args)
        elif grad_kl is not None:
            grads = run("gaussian_kl_backward", ctx.impl, grad_kl, *tensors, *ctx.options, prior_grad)
        else:
            grads = (None,) * 4
        return *needed(grads, ctx.needs_input_grad), None, None, None, None, None, None, None
