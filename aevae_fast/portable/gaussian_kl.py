"""KL between diagonal Gaussians in blocks that stay in cache, and the gradient of it.

Specification: `aevae_fast.reference.gaussian_kl`. The KL is ½(u² + eʷ - 1 - w), w = ln σ² - ln s², u = (μ - m)/s.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ._threads import on_threads, threads_for

Block = tuple[slice, slice, slice]
Worker = Callable[[int, Block], None]  # takes a block's number and place

_ELEMENTS = 1 << 15  # of a block: the handful of float32 buffers it takes fit in a core's L2
_SMALL = -20.0  # below which softplus is the exponential, in float32
_NEAR = 0.5  # |w| up to which eʷ - 1 - w is summed as a series, of terms up to w⁸/8!
_SERIES = [1 / math.factorial(n) for n in range(8, 1, -1)]


def blocks(shape: torch.Size) -> Iterator[Block]:
    """Cut [B, S, D] into blocks of at most _ELEMENTS elements: parts of a row, rows of a sample, or whole samples."""
    batch, length, dimension = shape
    if 0 in shape:
        return
    step_d = min(dimension, _ELEMENTS)
    step_s = min(length, max(1, _ELEMENTS // dimension))
    step_b = max(1, _ELEMENTS // (length * dimension))
    for b in range(0, batch, step_b):
        for s in range(0, length, step_s):
            for d in range(0, dimension, step_d):
                yield slice(b, b + step_b), slice(s, s + step_s), slice(d, d + step_d)


def for_each_block(mean: Tensor, make_worker: Callable[[], Worker]) -> None:
    """Hand every block of mean [B, S, D] to a worker; each thread makes its own."""

    def numbered() -> Callable[[tuple[int, Block]], None]:
        worker = make_worker()
        return lambda item: worker(*item)

    on_threads(numbered, list(enumerate(blocks(mean.shape))), threads_for(mean))


def clamped(p: Tensor, clamp: list[float] | None) -> Tensor:
    """p within its bounds; NaN where it is not finite."""
    return p if clamp is None else p.clamp(*clamp).add_(p * 0)


def is_logarithm(parameterization: str) -> bool:
    """Whether the parameter gives ln σ, rather than σ."""
    return parameterization in ("logvar", "logstd")


def spread(p: Tensor, parameterization: str) -> tuple[Tensor, Tensor]:
    """σ and ln σ² of a clamped parameter p, float32."""
    if parameterization == "logvar":
        return torch.mul(p, 0.5).exp_(), p
    if parameterization == "logstd":
        return p.exp(), p * 2
    if parameterization == "std":
        sigma = p.where(p >= 0, torch.nan)
        return sigma, sigma.log().mul_(2)
    sigma = torch.logaddexp(p, p.new_zeros(()))
    return sigma, torch.where(p < _SMALL, p, sigma.log()).mul_(2)


def excess(w: Tensor, ratio: Tensor | None = None) -> Tensor:
    """eʷ - 1 - w: by its series up to |w| = _NEAR, as it stands beyond. Given the ratio ρ = e^(w/2), (ρ - 1)(ρ + 1) - w
    there: eʷ would magnify w's rounding."""
    v = w.clamp(-_NEAR, _NEAR)
    total = torch.mul(v, _SERIES[0])
    for coefficient in _SERIES[1:-1]:
        total.add_(coefficient).mul_(v)
    total.add_(_SERIES[-1]).mul_(v).mul_(v)
    if ratio is not None:
        return torch.where(w.abs() < _NEAR, total, less_one(w, ratio).sub_(w))
    beyond = w.abs().sub_(_NEAR).mul_(1e30).clamp_(0, 1)  # 0 or 1 in floats, which take less time than bools
    return total.lerp_(w.exp().sub_(1).sub_(w), beyond)


def less_one(w: Tensor, ratio: Tensor | None) -> Tensor:
    """eʷ - 1, of the ratio e^(w/2) where it is given."""
    return torch.expm1(w) if ratio is None else (ratio - 1).mul_(ratio + 1)


class Terms(NamedTuple):
    """What the KL of a block is made of."""

    u: Tensor  # (μ - m)/s
    w: Tensor  # ln σ² - ln s²
    ratio: Tensor | None  # σ/s where the parameter gives σ
    scale: Tensor | None  # 1/s; None of the standard normal prior

    def doubled(self) -> Tensor:
        """Twice the KL of each element."""
        return excess(self.w, self.ratio).addcmul_(self.u, self.u)


def terms(
    mean: Tensor, sigma: Tensor, log_var: Tensor, parameterization: str, priors: tuple[Tensor, Tensor] | None
) -> Terms:
    """Of the mean, σ and ln σ² of a block; priors: its prior's mean and ln s²."""
    ratio = None if is_logarithm(parameterization) else sigma
    if priors is None:
        return Terms(mean, log_var, ratio, None)
    scale = torch.mul(priors[1], -0.5).exp_()
    return Terms((mean - priors[0]) * scale, log_var - priors[1], None if ratio is None else ratio * scale, scale)


def counted(doubled: Tensor, free_bits: float) -> Tensor:
    return doubled.clamp_(min=2 * free_bits) if free_bits > 0 else doubled


class Total:
    """Collects the doubled KL of blocks into the asked reduction: [B, S, D], [B], or the sum []. Blocks may come in any
    order: their sums are added up in the order of their numbers."""

    def __init__(self, mean: Tensor, reduction: str) -> None:
        shape = {"none": mean.shape, "latent": mean.shape[:1], "batch": ()}[reduction]
        self.reduction, self.kl = reduction, torch.zeros(shape, device=mean.device)
        self.parts: dict[int, tuple[slice, Tensor]] = {}

    def add(self, number: int, block: Block, doubled: Tensor) -> None:
        if self.reduction == "none":
            torch.mul(doubled, 0.5, out=self.kl[block])
        else:
            self.parts[number] = block[0], doubled.sum((1, 2)) if self.reduction == "latent" else doubled.sum()

    def result(self) -> Tensor:
        parts = [part for _, part in sorted(self.parts.items())]
        if self.reduction == "latent":
            for rows, part in parts:
                self.kl[rows].add_(part, alpha=0.5)
        elif self.reduction == "batch" and parts:
            self.kl = torch.stack([part for _, part in parts]).sum().mul_(0.5)
        return self.kl


def part_of(tensors: tuple[Tensor | None, Tensor | None], block: Block) -> tuple[Tensor, Tensor] | None:
    """The prior's two tensors at a block, float32."""
    mean, logvar = tensors
    return None if mean is None or logvar is None else (mean[block].float(), logvar[block].float())


def gaussian_kl(
    mean: Tensor,
    logvar: Tensor,
    prior_mean: Tensor | None,
    prior_logvar: Tensor | None,
    parameterization: str,
    clamp: list[float] | None,
    free_bits: float,
    reduction: str,
) -> Tensor:
    """KL of [B, S, D] views, float32: [B, S, D] for "none", [B] for "latent", the whole sum for "batch"."""
    total = Total(mean, reduction)

    def measure(number: int, block: Block) -> None:
        sigma, log_var = spread(clamped(logvar[block].float(), clamp), parameterization)
        priors = part_of((prior_mean, prior_logvar), block)
        of_block = terms(mean[block].float(), sigma, log_var, parameterization, priors)
        total.add(number, block, counted(of_block.doubled(), free_bits))

    for_each_block(mean, lambda: measure)
    return total.result()


def gaussian_kl_backward(
    grad_kl: Tensor,
    mean: Tensor,
    logvar: Tensor | None,
    prior_mean: Tensor | None,
    prior_logvar: Tensor | None,
    parameterization: str,
    clamp: list[float] | None,
    free_bits: float,
    prior_grad: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of mean, logvar (their dtype) and, with prior_grad, of the prior's two (float32), all [B, S, D]. logvar
    None: mean holds both, [B, 2, S, D], and so does the first gradient, like it; the second is empty."""
    gradients = Gradients(mean, logvar, prior_mean, prior_logvar, parameterization, clamp, free_bits, prior_grad)
    for_each_block(gradients.mean, lambda: lambda _, block: gradients.store(block, grad_kl))
    return gradients.results


class Gradients:
    """The gradients of mean, logvar and the prior, a block at a time."""

    def __init__(
        self,
        mean: Tensor,
        logvar: Tensor | None,
        prior_mean: Tensor | None,
        prior_logvar: Tensor | None,
        parameterization: str,
        clamp: list[float] | None,
        free_bits: float,
        prior_grad: bool,
    ) -> None:
        if logvar is None:
            found = torch.empty_like(mean), mean.new_empty(0)
            (mean, logvar), self.places = mean.unbind(1), found[0].unbind(1)
        else:
            found = self.places = mean.new_empty(mean.shape), logvar.new_empty(mean.shape)
        self.mean, self.logvar, self.priors = mean, logvar, (prior_mean, prior_logvar)
        self.parameterization, self.clamp = parameterization, clamp
        self.free_bits, self.prior_grad = free_bits, prior_grad
        shape = mean.shape if prior_grad else (0,)
        prior_grads = (torch.zeros(shape, device=mean.device), torch.zeros(shape, device=mean.device))
        self.results = (*found, *prior_grads)

    def store(
        self, block: Block, grad_kl: Tensor | None, grad_z: Tensor | None = None, eps: Tensor | None = None
    ) -> None:
        """grad_kl [B, S, D], [B] or [] float32; grad_z and eps: [samples, ...] of this block."""
        mean, raw = self.mean[block].float(), self.logvar[block].float()
        p = clamped(raw, self.clamp)
        sigma, log_var = spread(p, self.parameterization)
        logarithm = is_logarithm(self.parameterization)
        grad_mean = grad_spread = None  # to ln σ where p gives that, else to p
        if grad_z is not None and eps is not None:
            single = len(grad_z) == 1
            grad_mean = grad_z[0] if single else grad_z.sum(0, dtype=torch.float32)
            grad_spread = eps.mul_(grad_z)[0] if single else eps.mul_(grad_z).sum(0)
            if logarithm:
                grad_spread.mul_(sigma)
            elif self.parameterization == "softplus":
                grad_spread.mul_(torch.sigmoid(p))
        if grad_kl is not None:
            of_block = terms(mean, sigma, log_var, self.parameterization, part_of(self.priors, block))
            grad_u, grad_w = self._of_kl(block, grad_kl, of_block)
            grad_mean = grad_u if grad_mean is None else grad_u.add_(grad_mean)
            if self.parameterization == "std":
                grad_w.div_(sigma)
            elif self.parameterization == "softplus":  # d ln σ / dp, 1 where softplus is the exponential
                grad_w.mul_(torch.where(p < _SMALL, 1.0, torch.sigmoid(p) / sigma))
            grad_spread = grad_w if grad_spread is None else grad_spread.add_(grad_w)
        assert grad_mean is not None
        assert grad_spread is not None
        if self.parameterization == "logvar":
            grad_spread.mul_(0.5)
        if self.clamp is not None:
            lo, hi = self.clamp
            grad_spread.masked_fill_((raw < lo) | (raw > hi), 0.0)
        self.places[0][block] = grad_mean
        self.places[1][block] = grad_spread

    def _of_kl(self, block: Block, grad_kl: Tensor, of_block: Terms) -> tuple[Tensor, Tensor]:
        """Gradients of the KL to mean and to ln σ; the prior's are stored."""
        weight = grad_kl[block] if grad_kl.ndim == 3 else grad_kl[block[0]][:, None, None] if grad_kl.ndim else grad_kl
        if self.free_bits > 0:
            weight = torch.where(of_block.doubled() < 2 * self.free_bits, 0.0, weight)
        u, w, ratio, scale = of_block
        grad_u, grad_w = u * weight, less_one(w, ratio).mul_(weight)
        if scale is None:
            return grad_u, grad_w
        grad_u.mul_(scale)
        if self.prior_grad:
            torch.neg(grad_u, out=self.results[2][block])
            self.results[3][block] = (grad_w + u.square_() * weight).mul_(-0.5)
        return grad_u, grad_w
