"""The Gaussian reference against torch.distributions and finite differences; its noise against published vectors."""

from typing import Any

import pytest
import scipy.stats
import torch
from torch.autograd import gradcheck
from torch.distributions import Normal, kl_divergence

from aevae_fast import reference
from aevae_fast.reference import philox


def test_philox_against_published_vectors() -> None:
    """Known answers of Random123 (kat_vectors, philox4x32 10)."""
    ones, pi = 0xFFFFFFFF, [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
    answers = {
        (0, (0,) * 4): "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
        (-1, (ones,) * 4): "408f276d 41c83b0e a20bc7c6 6d5451fd",
        (0x299F31D0A4093822, tuple(pi)): "d16cfe09 94fdcceb 5001e420 24126ea1",
    }
    for (key, counter), answer in answers.items():
        words = philox.philox(torch.tensor(key), torch.tensor(counter))
        assert " ".join(f"{word:08x}" for word in words.tolist()) == answer


def test_noise_is_standard_normal_and_uncorrelated() -> None:
    noise = philox.standard_normal(torch.tensor([11]), 2, 1 << 19, torch.float64)
    n = noise.shape[1]
    first = noise[0]
    error = n**-0.5
    for power, moment, spread in ((1, 0, 1), (2, 1, 2**0.5), (3, 0, 15**0.5), (4, 3, 96**0.5)):
        assert abs((first**power).mean() - moment) < 4 * spread * error
    assert scipy.stats.kstest(first.numpy(), "norm").pvalue > 1e-3
    assert first.abs().max() > 4.5
    other = philox.standard_normal(torch.tensor([12]), 1, n, torch.float64)[0]
    for lag in (1, 2, 3, 4, 256):
        assert abs((first[:-lag] * first[lag:]).mean()) < 4 * error
        assert abs((first[:-lag].square() - 1).mul(first[lag:].square() - 1).mean()) < 8 * error
    assert abs((first * noise[1]).mean()) < 4 * error
    assert abs((first * other).mean()) < 4 * error
    assert torch.equal(first[:1001], philox.standard_normal(torch.tensor([11]), 1, 1001, torch.float64)[0])


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
