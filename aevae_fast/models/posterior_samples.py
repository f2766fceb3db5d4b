"""What samples of a Gaussian posterior say about images: the ELBO and the importance-sampled likelihood."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

LogProb = Callable[[Tensor, Tensor], Tensor]  # latents [N, ...] and their images [N, C, H, W] to log p(x | z) [N]
Draws = Iterator[tuple[Tensor, Tensor]]


def posterior_samples(
    x: Tensor,
    mean: Tensor,
    logvar: Tensor,
    log_prob: LogProb,
    samples: int,
    at_once: int,
    generator: torch.Generator | None,
) -> Draws:
    """Draw `samples` z ~ q(z | x) for each image and yield log p(x | z) and log p(z) - log q(z | x), `[k, B]` each, for
    as many at a time as keep k·B within `at_once`; at least one.

    The two densities are float64 (float32 on devices without it), and those of the very z, rounded to the mean's dtype,
    that is decoded.
    """
    wide = torch.float32 if x.device.type == "mps" else torch.float64
    mean_, logvar_ = mean.to(wide), logvar.to(wide)
    group = max(1, at_once // max(len(x), 1))
    for first in range(0, samples, group):
        count = min(group, samples - first)
        noise = torch.randn(count, *mean.shape, dtype=wide, device=x.device, generator=generator)
        z = (mean_ + torch.exp(logvar_ / 2) * noise).to(mean.dtype)
        repeated = x.expand(count, *x.shape).flatten(0, 1)
        log_likelihood = log_prob(z.flatten(0, 1), repeated).view(count, len(x)).to(wide)
        noise = (z.to(wide) - mean_) * torch.exp(-logvar_ / 2)
        ratio = (noise.square() + logvar_ - z.to(wide).square()) / 2
        yield log_likelihood, ratio.flatten(2).sum(2)


def expected_log_prob(drawn: Draws, samples: int) -> Tensor:
    """Mean of log p(x | z) over the samples, `[B]`."""
    return torch.stack([log_likelihood.sum(0) for log_likelihood, _ in drawn]).sum(0) / samples


def importance_log_likelihood(drawn: Draws, samples: int) -> Tensor:
    """log of the mean of p(x | z) p(z) / q(z | x) over the samples, `[B]`, as one running logsumexp."""
    total = None
    for log_likelihood, ratio in drawn:
        part = torch.logsumexp(log_likelihood + ratio, 0)
        total = part if total is None else torch.logaddexp(total, part)
    assert total is not None
    return total - torch.tensor(float(samples), dtype=total.dtype).log().to(total.device)
