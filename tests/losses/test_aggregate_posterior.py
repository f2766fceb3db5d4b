"""The KL's three parts where the aggregate posterior is known in full."""

import math

import pytest
import torch
from torch import Tensor

from aevae_fast import reference
from aevae_fast.losses import total_correlation_terms

from .test_total_correlation import KINDS

TOY = {  # MI and TC in nats, as docs/objectives.md shows them
    "exact": (6.5, 3.5),
    "stratified": (6.7, 3.6),
    "weighted": (11.0, 67.8),
    "reference": (4.1, 5.6),
    "ports": (41.6, -31.8),
}


def test_where_the_aggregate_posterior_is_known() -> None:
    """A data set of 1000 Gaussians with a latent of 10: q(z) is their mean, known in full, and so are MI and TC.

    The correct weights miss them by the logarithm's own bias alone: log of an unbiased estimate lies low. The authors'
    take points for strangers to their own posterior: MI lacks what TC has too much. Counted D times they give an
    absurd MI and a TC below 0, which no KL is. Weighted sampling has TC near D·log N too high.
    """
    size, dim, batch = 1000, 10, 64
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    mean, logvar = normal(size, dim), 2 * math.log(0.4) + 0.2 * normal(size, dim)
    mean[:, 5:] = 0.8 * mean[:, :5] + 0.6 * mean[:, 5:]  # five pairs of dependent dimensions
    z = mean + torch.exp(logvar / 2) * normal(size, dim)
    joint, marginals = (density - math.log(size) for density in reference.gaussian_logsumexp(z, mean, logvar))
    conditional = torch.distributions.Normal(mean, torch.exp(logvar / 2)).log_prob(z).sum(1)
    found = {"exact": ((conditional - joint).mean(), (joint - marginals.sum(1)).mean())}
    batches = torch.randperm(size, generator=generator)[: size // batch * batch].view(-1, batch)
    for kind, options in KINDS.items():
        parts = [total_correlation_terms(z[b], mean[b], logvar[b], size, **options) for b in batches]
        found[kind] = tuple(sum(values) / len(batches) for values in zip(*[part[:2] for part in parts], strict=True))
    for kind, shown in TOY.items():
        assert [float(value) for value in found[kind]] == pytest.approx(shown, abs=0.06), kind

    mutual, total = (
        {kind: float(values[part]) - float(found["exact"][part]) for kind, values in found.items()} for part in (0, 1)
    )
    assert max(abs(mutual["stratified"]), abs(total["stratified"])) < 0.3
    assert mutual["reference"] < -2
    assert total["reference"] > 2
    assert mutual["ports"] > 30
    assert found["ports"][1] < -30
    assert (dim - 1) * math.log(size) < total["weighted"] < dim * math.log(size)
