"""The Gaussian reference against torch.distributions and finite differences."""

from typing import Any

import pytest
import torch
from torch.autograd import gradcheck
from torch.distributions import Normal, kl_divergence

from aevae_fast import reference


@pytest.mark.parametrize("parameterization", ["logvar", "logstd", "std", "softplus"])
def test_kl_and_sample_are_the_distributions(parameterization: str) -> None:
    torch.manual_seed(0)
    mean, m, s, eps = (torch.randn(5, 7, dtype=torch.float64) for _ in range(4))
    sigma = torch.rand(5, 7, dtype=torch.float64) + 0.3
    raw = {"logvar": 2 * sigma.log(), "logstd": sigma.log(), "std": sigma, "softplus": torch.expm1(sigma).log()}
    options: dict[str, Any] = {"parameterization": parameterization, "reduction": "none"}
    z, kl = reference.reparameterize_kl(mean, raw[parameterization], eps, m, s, **options)
    torch.testing.assert_close(z, mean + sigma * eps)
    torch.testing.assert_close(kl, kl_divergence(Normal(mean, sigma), Normal(m, torch.exp(s / 2))))
    per_sample = reference.gaussian_kl(mean, raw[parameterization], parameterization=parameterization)
    torch.testing.assert_close(per_sample, kl_divergence(Normal(mean, sigma), Normal(0.0, 1.0)).sum(1).mean())


@pytest.mark.parametrize("parameterization", ["logvar", "logstd", "std", "softplus"])
def test_gradients(parameterization: str) -> None:
    torch.manual_seed(0)
    tensors = [torch.randn(3, 4, dtype=torch.float64) for _ in range(4)]
    tensors[1] = tensors[1].abs() + 0.2
    eps = torch.randn(2, 3, 4, dtype=torch.float64)

    def run(*tensors: torch.Tensor) -> Any:
        mean, raw, m, s = tensors
        options: dict[str, Any] = {"clamp": (-3, 0.9), "free_bits": 0.05}
        return reference.reparameterize_kl(mean, raw, eps, m, s, parameterization=parameterization, **options)

    assert gradcheck(run, [t.requires_grad_() for t in tensors])
