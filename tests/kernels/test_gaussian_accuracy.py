"""The Gaussian kernels' own exponentials, logarithms and series, swept over the range that σ takes in practice."""

from typing import Any

import pytest
import torch
from torch import Tensor

from aevae_fast import reference
from aevae_fast.kernels.gaussian_kl import gaussian_kl, gaussian_kl_backward
from aevae_fast.kernels.reparameterize_kl import reparameterize_kl
from aevae_fast.reference.gaussian_kl import log_variance

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")

U = 2.0**-24  # a float32's rounding
# σ from e⁻⁵ to e⁵, finely where branches of the arithmetic meet: at 0.6 and 1.4, and at |ln σ| = ½ ln 2.
SIGMA = torch.cat([torch.linspace(-5, 5, 4001).double().exp(), torch.linspace(0.55, 1.45, 8001).double()])
RAW = {
    "logvar": 2 * SIGMA.log(),
    "logstd": SIGMA.log(),
    "std": SIGMA,
    "softplus": SIGMA + torch.log(-torch.expm1(-SIGMA)),
}
# σ and 1/s are good to 4 units in the last place; what that does to w = 2 ln(σ/s), as multiples of U. Given w itself,
# nothing; its difference to the prior's is rounded once, which counts among the 24 U of the KL.
SPREAD = {"logvar": 0, "logstd": 0, "std": 0, "softplus": 16}


def make(parameterization: str, prior: bool, device: torch.device) -> tuple[Tensor, Tensor, Any]:
    """raw [1, 1, D], the prior's two, and what float64 makes of them: w."""
    raw = RAW[parameterization].float().to(device).view(1, 1, -1)
    s = torch.full_like(raw, 0.3) if prior else None
    _, log_var = log_variance(raw.double(), parameterization, None)
    return raw, log_var - (0 if s is None else s.double()), (None if s is None else torch.zeros_like(raw), s)


@pytest.mark.parametrize("prior", [False, True], ids=["standard", "prior"])
@pytest.mark.parametrize("parameterization", RAW)
def test_kl_and_its_gradient_over_the_range(parameterization: str, prior: bool, device: torch.device) -> None:
    raw, w, priors = make(parameterization, prior, device)
    options = (parameterization, None, 0.0)
    zeros = torch.zeros_like(raw)
    kl = gaussian_kl(zeros, raw, *priors, *options, "none")
    leaf = raw.double().requires_grad_()
    wide = [None if t is None else t.double() for t in priors]
    exact = reference.gaussian_kl(zeros.double(), leaf, *wide, parameterization=parameterization, reduction="none")
    (slope,) = torch.autograd.grad(exact.sum(), leaf)
    rounded = SPREAD[parameterization] + (16 if prior and parameterization in ("std", "softplus") else 1) * prior
    exact = exact.detach()
    assert (kl >= 0).all()
    moved = rounded * U
    assert ((kl - exact).abs() <= 24 * U * exact + moved * torch.expm1(w).abs() / 2 + moved**2).all()
    grad = gaussian_kl_backward(torch.ones_like(kl), zeros, raw, *priors, *options, False)[1]
    per_w = (slope / torch.expm1(w) * 2).abs().nan_to_num(1)  # dw/dp
    assert ((grad - slope).abs() <= 16 * U * slope.abs() + (moved + prior * U) * w.exp() / 2 * per_w).all()


@pytest.mark.parametrize("prior", [False, True], ids=["standard", "prior"])
@pytest.mark.parametrize("parameterization", RAW)
def test_sigma_over_the_range(parameterization: str, prior: bool, device: torch.device) -> None:
    """z is σ times the noise that is z where σ is 1."""
    raw, _, priors = make(parameterization, prior, device)
    zeros, seed = torch.zeros_like(raw), torch.tensor([5], device=device)
    z, _ = reparameterize_kl(zeros, raw, *priors, seed, 1, parameterization, None, 0.0, "batch")
    eps, _ = reparameterize_kl(zeros, zeros, None, None, seed, 1, "logvar", None, 0.0, "batch")
    sigma, _ = log_variance(raw.double(), parameterization, None)
    exact = sigma * eps[0].double()
    assert ((z[0] - exact).abs() <= 10 * U * exact.abs()).all()
