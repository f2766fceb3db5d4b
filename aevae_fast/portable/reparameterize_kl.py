"""Reparameterized sample and KL, block by block, and their gradient, for which the noise is drawn again.

Specification: `aevae_fast.reference.reparameterize_kl`. Noise comes from torch's own normal generator on the tensors'
device, started for each block from the seed and the block's number: drawing it twice costs no more than storing it, and
threads need not take turns. A CPU has no unit for Philox's products of 32 bits; torch's generator there, mt19937, takes
seeds of 32 bits, so that of many millions of blocks some are alike. Other devices than the CPU wait for the seed to
reach the host.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .gaussian_kl import Block, Gradients, Total, Worker, clamped, counted, for_each_block, part_of, spread, terms

Draw = Callable[[int, Block], Tensor]  # a block's number and place → its noise [samples, ...] float32


def _noise(seed: int, samples: int, mean: Tensor) -> Draw:
    """One thread's source of noise."""
    generator = torch.Generator(mean.device)

    def draw(number: int, block: Block) -> Tensor:
        generator.manual_seed(_mixed(seed + number * 0x9E3779B97F4A7C15))  # 2⁶⁴/φ
        return torch.empty((samples, *mean[block].shape), device=mean.device).normal_(generator=generator)

    return draw


def _mixed(number: int) -> int:
    """64 bits each of which depends on all of them (Steele et al. 2014, SplitMix64's last step)."""
    number %= 2**64
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB % 2**64
    return number ^ (number >> 31)


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
            of_block = terms(center, sigma, log_var, parameterization, part_of((prior_mean, prior_logvar), block))
            total.add(number, block, counted(of_block.doubled(), free_bits))

        return sample

    for_each_block(mean, make_worker)
    return z, total.result()


def reparameterize_kl_backward(
    grad_z: Tensor,
    grad_kl: Tensor | None,
    mean: Tensor,
    logvar: Tensor | None,
    prior_mean: Tensor | None,
    prior_logvar: Tensor | None,
    seed: Tensor,
    parameterization: str,
    clamp: list[float] | None,
    free_bits: float,
    prior_grad: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of mean, logvar (their dtype) and, with prior_grad, of the prior's two (float32), all [B, S, D]. logvar
    None: mean holds both, [B, 2, S, D], and so does the first gradient, like it; the second is empty."""
    gradients = Gradients(mean, logvar, prior_mean, prior_logvar, parameterization, clamp, free_bits, prior_grad)
    start = int(seed)

    def make_worker() -> Worker:
        draw = _noise(start, len(grad_z), gradients.mean)
        return lambda number, block: gradients.store(block, grad_kl, grad_z[(slice(None), *block)], draw(number, block))

    for_each_block(gradients.mean, make_worker)
    return gradients.results
