"""What samples of a posterior say about images: the ELBO and the importance-sampled likelihood."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from aevae_fast.latents import Latent

LogProb = Callable[[Tensor, Tensor], Tensor]  # latents [N, ...] and their images [N, C, H, W] to log p(x | z) [N]
LogPrior = Callable[[Tensor], Tensor]  # flattened latents [N, D] to log p(z) [N]
Draws = Iterator[tuple[Tensor, Tensor]]


def posterior_samples(
    x: Tensor,
    encoded: Tensor,
    latent: Latent,
    log_prior: LogPrior,
    log_prob: LogProb,
    samples: int,
    at_once: int,
    generator: torch.Generator | None,
) -> Draws:
    """Draw `samples` z ~ q(z | x) for each image and yield log p(x | z) and log p(z) - log q(z | x), `[k, B]` each, for
    as many at a time as keep k·B within `at_once`; at least one.

    They are float64 (float32 on devices without it), and the two densities those of the very z, rounded to the
    encoder's dtype, that is decoded.
    """
    group = max(1, at_once // max(len(x), 1))
    for first in range(0, samples, group):
        count = min(group, samples - first)
        z, log_q = latent.draw(encoded, count, generator=generator)
        repeated = x.expand(count, *x.shape).flatten(0, 1)
        log_likelihood = log_prob(z.flatten(0, 1), repeated).view(count, len(x))
        log_p = log_prior(z.flatten(0, 1).flatten(1).to(log_q.dtype)).view(count, len(x))
        yield log_likelihood.to(log_q.dtype), log_p - log_q


def expectations(drawn: Draws, samples: int) -> tuple[Tensor, Tensor]:
    """Means of log p(x | z) and of log q(z | x) - log p(z) over the samples, `[B]` each."""
    sums = [(log_likelihood.sum(0), -ratio.sum(0)) for log_likelihood, ratio in drawn]
    log_likelihood, kl = (torch.stack(parts).sum(0) / samples for parts in zip(*sums, strict=True))
    return log_likelihood, kl


def importance_log_likelihood(drawn: Draws, samples: int) -> Tensor:
    """log of the mean of p(x | z) p(z) / q(z | x) over the samples, `[B]`, as one running logsumexp."""
    total = None
    for log_likelihood, ratio in drawn:
        part = torch.logsumexp(log_likelihood + ratio, 0)
        total = part if total is None else torch.logaddexp(total, part)
    assert total is not None
    return total - torch.tensor(float(samples), dtype=total.dtype).log().to(total.device)
