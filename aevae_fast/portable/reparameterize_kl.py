"""Reparameterized sample and KL, block by block, and their gradient, for which the noise is drawn again.

Specification: `aevae_fast.reference.reparameterize_kl`. Noise comes from torch's own normal generator on the tensors'
device, started for each block from the seed and the block's number: on a CPU that is far faster than Philox in int64
arithmetic, drawing it twice costs no more than storing it, and threads need not take turns. Other devices than the CPU
wait for the seed to reach the host.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .gaussian_kl import Block, Gradients, Total, Worker, block_kl, clamped, for_each_block, part_of, spread

Draw = Callable[[int, Block], Tensor]  # a block's number and place → its noise [samples, ...] float32


def _noise(seed: int, samples: int, mean: Tensor) -> Draw:
    """One thread's source of noise."""
    generator = torch.Generator(mean.device)

    def draw(number: int, block: Block) -> Tensor:
        generator.manual_seed((seed + number * 0x9E3779B97F4A7C15) % 2**64)  # 2⁶⁴/φ: seeds far apart
        return torch.empty((samples, *mean[block].shape), device=mean.device).normal_(generator=generator)

    return draw


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
    total, start = Total(mean, reduction), int(seed)

    def make_worker() -> Worker:
        draw = _noise(start, samples, mean)

        def sample(number: int, block: Block) -> None:
            center = mean[block].float()
            sigma, log_var = spread(clamped(logvar[block].float(), clamp), parameterization)
            z[(slice(None), *block)] = draw(number, block).mul_(sigma).add_(center)
            priors = part_of((prior_mean, prior_logvar), block)
            total.add(number, block, block_kl(center, log_var, priors, free_bits))

        return sample

    for_each_block(mean, make_worker)
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
    start = int(seed)

    def make_worker() -> Worker:
        draw = _noise(start, len(grad_z), mean)
        return lambda number, block: gradients.store(block, grad_kl, grad_z[(slice(None), *block)], draw(number, block))

    for_each_block(mean, make_worker)
    return gradients.results
