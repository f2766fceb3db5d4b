"""The importance-weighted bound: its value, its gradient, and that it rises to log p(x)."""

import math

import pytest
import torch

from aevae_fast.losses import iwae_bound


def test_value_and_gradient() -> None:
    log_weights = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    bound = iwae_bound(log_weights)
    torch.testing.assert_close(bound, log_weights.exp().mean(0).log())
    bound.sum().backward()
    torch.testing.assert_close(log_weights.grad, log_weights.softmax(0))  # each sample by its normalised weight
    assert torch.autograd.gradcheck(iwae_bound, log_weights)
    assert torch.isfinite(iwae_bound(log_weights - 1e6)).all()


def test_one_sample_is_the_elbo_and_more_come_nearer() -> None:
    """x = z + ε: p(x) = N(0, 2), q(z | x) = N(0.2·x, 1) far from the posterior N(x/2, 1/2)."""
    torch.manual_seed(0)
    x = torch.tensor(1.5, dtype=torch.float64)
    q, p = torch.distributions.Normal(0.2 * x, 1.0), torch.distributions.Normal(torch.zeros(()).double(), 1.0)
    z = q.sample((64, 20000))
    log_weights = torch.distributions.Normal(z, 1.0).log_prob(x) + p.log_prob(z) - q.log_prob(z)
    truth = float(torch.distributions.Normal(0.0, math.sqrt(2)).log_prob(x))
    means = [float(iwae_bound(log_weights[:k]).mean()) for k in (1, 2, 8, 64)]
    elbo = float(log_weights.mean())
    assert math.isclose(means[0], elbo, rel_tol=2e-2)
    assert torch.equal(iwae_bound(log_weights[:1]), log_weights[0])
    assert means == sorted(means)
    assert means[-1] < truth
    assert truth - means[-1] < 0.02 * (truth - elbo)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"log_weights must have shape \[K, B\], K at least 1; got \(0, 3\)"):
        iwae_bound(torch.zeros(0, 3))
    with pytest.raises(ValueError, match=r"got \(3,\)"):
        iwae_bound(torch.zeros(3))
    with pytest.raises(TypeError, match=r"must be a floating-point tensor; got torch\.int64"):
        iwae_bound(torch.zeros(2, 3, dtype=torch.int64))
