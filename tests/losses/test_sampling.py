"""`sample` follows `log_prob`, `mean` is its mean, and the generator decides."""

from typing import Any

import pytest
import scipy.stats
import torch
from torch import Tensor

from aevae_fast.losses import Likelihood, make_likelihood

DISCRETE: dict[str, tuple[str, dict[str, Any], int]] = {
    "bernoulli": ("bernoulli", {}, 2),
    "discretized_logistic": ("discretized_logistic", {"levels": 8}, 8),
    "discretized_logistic_256": ("discretized_logistic", {}, 256),
    "discretized_logistic_mixture": ("discretized_logistic_mixture", {"levels": 8, "components": 3}, 8),
    "categorical": ("categorical", {"levels": 8}, 8),
}
N = 100_000


def drawn(likelihood: Likelihood, outputs: Tensor) -> Tensor:
    """N values of one pixel with these outputs."""
    return likelihood.sample(outputs.expand(N, -1), generator=torch.Generator().manual_seed(3))[:, 0]


@pytest.mark.parametrize("name", DISCRETE)
def test_frequencies_of_levels_are_their_probabilities(name: str) -> None:
    torch.manual_seed(1)
    kind, options, levels = DISCRETE[name]
    likelihood = make_likelihood(kind, **options)
    outputs = torch.randn(1, likelihood.outputs_per_channel)
    level = drawn(likelihood, outputs) * (levels - 1)
    assert torch.equal(level, level.round())
    observed = torch.bincount(level.long(), minlength=levels).double()
    grey = torch.arange(levels)[:, None] / (levels - 1)
    probability = likelihood.log_prob(outputs.expand(levels, -1), grey).double().exp()
    torch.testing.assert_close(probability.sum(), torch.ones((), dtype=torch.float64), rtol=0, atol=1e-5)
    kept = probability * N > 5
    expected = probability[kept] * observed[kept].sum() / probability[kept].sum()
    assert scipy.stats.chisquare(observed[kept].numpy(), expected.numpy()).pvalue > 1e-3
    mean = (probability * grey[:, 0]).sum()
    rounding = 0.5 / (levels - 1) if "logistic" in kind else 1e-5
    assert abs(likelihood.mean(outputs) - mean) <= rounding


@pytest.mark.parametrize("learned", [False, True])
def test_gaussian_samples(learned: bool) -> None:
    likelihood = make_likelihood("gaussian", sigma=0.2, learned=learned)
    x = drawn(likelihood, torch.tensor([[0.7]]))
    assert scipy.stats.kstest(x.numpy(), "norm", (0.7, 0.2)).pvalue > 1e-3
    assert not x.requires_grad
    outputs = torch.tensor([[0.7, -0.3, 1.2]])
    assert torch.equal(likelihood.mean(outputs), torch.tensor([[0.7, 0, 1]]))


@pytest.mark.parametrize("scale", [-7.0, -2, 0, 3, 7])
def test_the_clipped_mean_of_wide_and_narrow_logistics(scale: float) -> None:
    likelihood = make_likelihood("discretized_logistic")
    means = torch.tensor([-1e9, -40, -1.2, -0.3, 0, 0.9, 5, 1e9])
    decoded = torch.stack([means, torch.full_like(means, scale)], 1)
    grey = torch.arange(256) / 255
    x = grey.repeat(len(means))[:, None]
    probability = likelihood.log_prob(decoded.double().repeat_interleave(256, 0), x).exp().view(-1, 256)
    assert ((probability * grey).sum(1) - likelihood.mean(decoded)[:, 0]).abs().max() <= 0.5 / 255


@pytest.mark.parametrize("name", ["gaussian", *DISCRETE])
def test_the_generator_decides(name: str) -> None:
    kind, options, _ = DISCRETE.get(name, (name, {}, 0))
    likelihood = make_likelihood(kind, **options)
    decoded = torch.randn(2, 2 * likelihood.outputs_per_channel, 6, 6)
    first, again, other = (
        likelihood.sample(decoded, generator=torch.Generator().manual_seed(seed)) for seed in (5, 5, 6)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
