"""KL divergence between diagonal Gaussians in closed form; Kingma & Welling 2014 (arXiv:1312.6114), appendix B."""

import math

import torch
from torch import Tensor


def log_variance(
    p: Tensor, parameterization: str, clamp: tuple[float, float] | list[float] | None
) -> tuple[Tensor, Tensor]:
    """σ and ln σ² of a parameter p: ln σ² itself, ln σ, σ, or what softplus makes σ of. NaN where σ would be negative,
    and where p is not finite although a clamp would hide it."""
    if clamp is not None:
        p = p.clamp(*clamp) + 0 * p
    if parameterization == "logvar":
        return torch.exp(p / 2), p
    if parameterization == "logstd":
        return torch.exp(p), 2 * p
    if parameterization == "std":
        sigma = p.where(p >= 0, torch.nan)
        return sigma, 2 * sigma.log()
    sigma = torch.logaddexp(p, torch.zeros_like(p))
    small = p < -40  # where softplus is the exponential, which vanishes before its logarithm does
    return sigma, 2 * torch.where(small, p, sigma.where(~small, 1).log())


def excess(w: Tensor, ratio: Tensor | None = None) -> Tensor:
    """eʷ - 1 - w; by its series w²/2 + w³/6 + … below 1, where the formula cancels. Given the ratio ρ = e^(w/2), ρ² for
    eʷ, which would magnify w's rounding."""
    near = w.abs() < 1
    small = torch.where(near, w, 0)
    series = torch.zeros_like(w)
    for n in range(20, 1, -1):
        series = series * small + 1 / math.factorial(n)
    far = torch.expm1(w) if ratio is None else (ratio - 1) * (ratio + 1)
    return torch.where(near, small.square() * series, far - w)


def reduce(kl: Tensor, reduction: str) -> Tensor:
    """kl [B, ...] → as it is ("none"), summed over all but the batch ("latent"), and the mean of that ("batch")."""
    if reduction == "none":
        return kl
    per_sample = kl.flatten(1).sum(1) if kl.ndim > 1 else kl
    return per_sample if reduction == "latent" else per_sample.sum() / max(len(kl), 1)


def gaussian_kl(
    mean: Tensor,
    logvar: Tensor,
    prior_mean: Tensor | None = None,
    prior_logvar: Tensor | None = None,
    *,
    parameterization: str = "logvar",
    clamp: tuple[float, float] | list[float] | None = None,
    free_bits: float = 0.0,
    reduction: str = "batch",
) -> Tensor:
    """KL(N(mean, σ²) ‖ N(m, s²)) = ½((mean - m)²/s² + eʷ - 1 - w), w = ln σ² - ln s², in nats; N(0, 1) by default.

    mean, logvar [B, ...], the prior's two broadcast to them → float32 (float64 for float64). Each element counts at
    least free_bits.
    """
    dtype = torch.promote_types(mean.dtype, torch.float32)
    mean, logvar = mean.to(dtype), logvar.to(dtype)
    m = torch.zeros((), dtype=dtype, device=mean.device) if prior_mean is None else prior_mean.to(dtype)
    s = torch.zeros((), dtype=dtype, device=mean.device) if prior_logvar is None else prior_logvar.to(dtype)
    sigma, log_var = log_variance(logvar, parameterization, clamp)
    ratio = sigma * torch.exp(-s / 2) if parameterization in ("std", "softplus") else None
    kl = ((mean - m).square() * torch.exp(-s) + excess(log_var - s, ratio)) / 2
    if free_bits > 0:
        kl = kl.clamp(min=free_bits)
    return reduce(kl, reduction)
