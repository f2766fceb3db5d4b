"""Who takes a training step of a Gaussian bottleneck: sample, KL (sum over the latent, mean over the batch), backward.

The layer reads mean ‖ log-variance out of one encoder output and yields the gradient of that; the functional form reads
two tensors. Upstream gradients on the sample, 1 on the KL, drawn beforehand.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from aevae_fast import GaussianLatent, functional

from .search_providers import Call, Provider, missing_compiler

Sample = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def _eager(mean: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
    """As it is written everywhere."""
    z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
    kl = -0.5 * (1 + logvar - mean.square() - logvar.exp()).sum(1).mean()
    return z, kl


def _step(leaves: tuple[Tensor, ...], sample: Callable[[], tuple[Tensor, Tensor]], upstream: Tensor) -> Call:
    def step() -> Tensor:
        for leaf in leaves:
            leaf.grad = None
        z, kl = sample()
        torch.autograd.backward((z, kl), (upstream, torch.ones_like(kl)))
        return kl.detach()

    return step


def _joined(sample: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Callable[[Tensor, Tensor], Call]:
    def prepare(x: Tensor, upstream: Tensor) -> Call:
        x = x.detach().requires_grad_()
        return _step((x,), lambda: sample(x), upstream)

    return prepare


def _separate(sample: Sample) -> Callable[[Tensor, Tensor], Call]:
    def prepare(x: Tensor, upstream: Tensor) -> Call:
        mean, logvar = (half.detach().clone().requires_grad_() for half in x.chunk(2, 1))
        return _step((mean, logvar), lambda: sample(mean, logvar), upstream)

    return prepare


def refuse_wrong(kl: Tensor, x: Tensor, upstream: Tensor) -> None:
    """The KL against float64."""
    mean, logvar = x.double().chunk(2, 1)
    truth = functional.gaussian_kl(mean, logvar)
    if not math.isclose(float(kl), float(truth), rel_tol=1e-5):
        raise ArithmeticError(f"aevae_fast found a KL of {float(kl)} where it is {float(truth)}")


def _compiled(x: Tensor, upstream: Tensor) -> Call:
    sample = torch.compile(_eager)
    return _joined(lambda x: sample(*x.chunk(2, 1)))(x, upstream)


PROVIDERS = {
    "aevae_fast": Provider(_joined(GaussianLatent()), capturable=True),
    "eager": Provider(_joined(lambda x: _eager(*x.chunk(2, 1)))),
    "torch.compile": Provider(_compiled, lambda case, device: missing_compiler(device)),
    "aevae_fast, two tensors": Provider(_separate(functional.reparameterize_kl), capturable=True),
    "eager, two tensors": Provider(_separate(_eager)),
}
