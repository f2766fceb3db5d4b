"""DIP-VAE's penalties: against `torch.cov` in float64, and by their gradient."""

import pytest
import torch

from aevae_fast.losses import DIPVAEObjective, LinearSchedule, Terms, dip_penalties


def terms(batch: int = 7, dim: int = 4, dtype: torch.dtype = torch.float64) -> Terms:
    torch.manual_seed(0)
    log_likelihood, kl = -10 * torch.rand(batch, dtype=dtype), torch.rand(batch, dtype=dtype)
    mean, logvar = torch.randn(batch, dim, dtype=dtype) + 3, torch.randn(batch, dim, dtype=dtype)
    return Terms(log_likelihood, kl, mean, mean, logvar, torch.tensor(5))


@pytest.mark.parametrize("kind", ["i", "ii"])
def test_penalties_are_those_of_the_covariance(kind: str) -> None:
    t = terms()
    covariance = torch.cov(t.mean.T, correction=0)
    if kind == "ii":
        covariance = covariance + torch.diag(t.logvar.exp().mean(0))
    loss = DIPVAEObjective(kind, lambda_od=3.0, lambda_d=5.0)(t)  # type: ignore[arg-type]
    expected = (t.kl - t.log_likelihood).mean()
    for i in range(4):
        for j in range(4):
            expected = expected + (5 * (covariance[i, i] - 1) ** 2 if i == j else 3 * covariance[i, j] ** 2)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(("kind", "factor"), [("i", 10), ("ii", 1)])
def test_the_papers_ratio_of_the_weights_is_the_default(kind: str, factor: float) -> None:
    schedule = LinearSchedule(0.0, 4.0, 10)  # 2 at step 5
    loss = DIPVAEObjective(kind, lambda_od=schedule)(terms())  # type: ignore[arg-type]
    torch.testing.assert_close(loss, DIPVAEObjective(kind, 2.0, 2.0 * factor)(terms()), rtol=1e-6, atol=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_means_are_computed_in_float32_under_autocast_too(dtype: torch.dtype) -> None:
    t = terms(dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        found = dip_penalties(t.mean, t.logvar)
    exact = dip_penalties(t.mean.double(), t.logvar.double())
    for ours, truth in zip(found, exact, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), truth, rtol=1e-5, atol=0)


def test_means_far_from_0_lose_nothing() -> None:
    t = terms()
    near, far = dip_penalties(t.mean.float()), dip_penalties((t.mean + 1000).float())
    exact = dip_penalties((t.mean + 1000).float().double())
    for ours, truth in zip(far, exact, strict=True):
        torch.testing.assert_close(ours.double(), truth, rtol=1e-5, atol=0)
    torch.testing.assert_close(near, far, rtol=1e-2, atol=0)


def test_gradients_by_differences() -> None:
    t = terms(batch=4, dim=3)
    leaves = t.mean.requires_grad_(), t.logvar.requires_grad_()
    assert torch.autograd.gradcheck(dip_penalties, leaves)


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(ValueError, match="kind must be 'i' or 'ii'; got 'iii'"):
        DIPVAEObjective("iii")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lambda_d: expected a finite number, 0 or more, got -1"):
        DIPVAEObjective("i", lambda_d=-1.0)
