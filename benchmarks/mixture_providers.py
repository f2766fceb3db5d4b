"""Who takes a training step of a Gaussian mixture's log-density and its marginals: forward, and gradients of z, means
and log-variances.

β-TCVAE takes both, with a batch's posteriors as components; mixture and Vamp priors the joint alone. Upstream gradients
drawn beforehand.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from aevae_fast import functional, reference

from .cases import MixtureCase
from .search_providers import Call, Provider, missing_compiler

Density = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
_CHECKED_ROWS = 64
_EAGER_LIMIT = {"cpu": 1 << 28, "cuda": 1 << 31}  # B·K·D beyond which eager takes many times that many floats


def _ours(z: Tensor, mean: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    return functional.gaussian_logsumexp(z, mean, logvar, per_dim=True)


def _eager(z: Tensor, mean: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    """As it is written everywhere: [B, K, D] log-densities, summed in both ways."""
    log_density = -0.5 * ((z[:, None] - mean).square() * torch.exp(-logvar) + logvar + math.log(2 * math.pi))
    return log_density.sum(2).logsumexp(1), log_density.logsumexp(1)


def _step(density: Density) -> Callable[..., Call]:
    def prepare(z: Tensor, mean: Tensor, logvar: Tensor, grad_joint: Tensor, grad_marginals: Tensor) -> Call:
        leaves = [tensor.detach().clone().requires_grad_() for tensor in (z, mean, logvar)]

        def step() -> Tensor:
            for leaf in leaves:
                leaf.grad = None
            joint, marginals = density(*leaves)
            torch.autograd.backward((joint, marginals), (grad_joint, grad_marginals))
            return joint.detach()

        return step

    return prepare


def _compiled(*tensors: Tensor) -> Call:
    return _step(torch.compile(_eager))(*tensors)


def refuse_wrong(
    joint: Tensor, z: Tensor, mean: Tensor, logvar: Tensor, grad_joint: Tensor, grad_marginals: Tensor
) -> None:
    """The first rows against float64."""
    rows = z[:_CHECKED_ROWS].double()
    truth, _ = reference.gaussian_logsumexp(rows, mean.double(), logvar.double())
    error = (joint[:_CHECKED_ROWS] - truth).abs().max()
    if not error <= 1e-5 * truth.abs().max():
        raise ArithmeticError(f"aevae_fast is off by {float(error)} in log-densities up to {float(truth.abs().max())}")


def _eager_obstacle(case: MixtureCase, device: str) -> str | None:
    return "would take more memory than there is" if case.elements > _EAGER_LIMIT[device] else None


def _compiled_obstacle(case: MixtureCase, device: str) -> str | None:
    return _eager_obstacle(case, device) or missing_compiler(device)


PROVIDERS = {
    "aevae_fast": Provider(_step(_ours), capturable=True),
    "eager": Provider(_step(_eager), _eager_obstacle),
    "torch.compile": Provider(_compiled, _compiled_obstacle),
}
