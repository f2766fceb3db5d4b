"""Reparameterized sample and KL, block by block, and their gradient, for which the noise is drawn again.

Specification: `aevae_fast.reference.reparameterize_kl`. Noise comes from torch's own normal generator on the tensors'
device, started from the seed: on a CPU that is far faster than Philox in int64 arithmetic, and drawing it twice costs
no more than storing it. Other devices than the CPU wait for the seed to reach the host.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from .gaussian_kl import Block, Gradients, Total, block_kl, blocks, clamped, part_of, spread


def _noise(seed: Tensor, samples: int, mean: Tensor) -> Iterator[tuple[Block, Tensor]]:
    """The blocks of mean [B, S, D], each with its noise [samples, ...] float32."""
    generator = torch.Generator(mean.device).manual_seed(int(seed))
    for block in blocks(mean.shape):
        shape = (samples, *mean[block].shape)
        yield block, torch.empty(shape, device=mean.device).normal_(generator=generator)


def reparameterize_kl(
    mean: Tensor,
    logvar: Tensor,
    prior_mean: Tensor | None,
    prior_logvar: Tensor | None,
    seed: Tensor,
    samples: int,
    parameterization: str,
    clamp: list[float] | None,
    free_bits: float,
    reduction: str,
) -> tuple[Tensor, Tensor]:
    """(z [samples, B, S, D] like mean, kl float32: [B, S, D], [B] or []) of [B, S, D] views; "batch" gives the sum."""
    z = mean.new_empty((samples, *mean.shape))
    total = Total(mean, reduction)
    for block, eps in _noise(seed, samples, mean):
        center = mean[block].float()
        sigma, log_var = spread(clamped(logvar[block].float(), clamp), parameterization)
        z[(slice(None), *block)] = eps.mul_(sigma).add_(center)
        priors = part_of((prior_mean, prior_logvar), block)
        total.add(block, block_kl(center, log_var, priors, free_bits))
    return z, total.result()


def reparameterize_kl_backward(
    grad_z: Tensor,
    grad_kl: Tensor | None,
    mean: Tensor,
    logvar: Tensor,
    prior_mean: Tensor | None,
    prior_logvar: Tensor | None,
    seed: Tensor,
    parameterization: str,
    clamp: list[float] | None,
    free_bits: float,
    prior_grad: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of mean, logvar (their dtype) and, with prior_grad, of the prior's two (float32), all [B, S, D]."""
    gradients = Gradients(mean, logvar, prior_mean, prior_logvar, parameterization, clamp, free_bits, prior_grad)
    for block, eps in _noise(seed, len(grad_z), mean):
        gradients.store(block, grad_kl, grad_z[(slice(None), *block)], eps)
    return gradients.results
