"""The Gaussian operations held against the float64 reference on one case; errors in units of what is allowed."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from aevae_fast import functional, reference
from aevae_fast.functional import Impl

from ._gaussian_cases import GaussianCase
from ._result import Result, timed
from ._verdict import UNIT, error_share

_SEED = 3
_LARGEST_NOISE_ERROR, _MEAN_NOISE_ERROR = 1e-3, 2e-6  # next to radius 0, where the logarithm is, and elsewhere


def check_gaussian_kl(case: GaussianCase, device: torch.device, impl: Impl | None) -> Iterator[Result]:
    """Value and gradients."""
    tensors = case.draw(device)
    weight = _upstream(reference.gaussian_kl(*tensors, **case.options()))

    def values(call: Any, inputs: tuple[Tensor, ...], **options: Any) -> tuple[tuple[Tensor], tuple[Tensor, ...]]:
        leaves = [t.detach().requires_grad_() for t in inputs]
        kl = call(*leaves, **case.options(), **options)
        return (kl.detach(),), torch.autograd.grad(kl, leaves, weight.to(kl))

    ours, seconds = timed(lambda: values(functional.gaussian_kl, tensors, impl=impl), device)
    same = values(reference.gaussian_kl, tensors)
    truth = values(reference.gaussian_kl, tuple(t.double() for t in tensors))
    yield from _compare("gaussian_kl", case, seconds, ours, same, truth)


def check_reparameterize_kl(case: GaussianCase, device: torch.device, impl: Impl | None) -> Iterator[Result]:
    """Sample, KL and gradients. The noise is taken from the operation itself, as the sample of N(0, 1), so that the
    sample must be mean + σ·ε to rounding. The kernels' noise is held against the reference's Philox on its own: their
    logarithm and sine are good to an absolute error."""
    tensors = case.draw(device)
    eps = _noise(case, device, impl)
    if impl == "triton" or (impl is None and device.type == "cuda"):
        error = (eps.double() - _noise(case, device, "reference").double()).abs()
        share = max(float(error.max()) / _LARGEST_NOISE_ERROR, float(error.mean()) / _MEAN_NOISE_ERROR)
        yield Result("reparameterize_kl, noise", case, 0.0, share)
    options = case.options()
    kl = reference.gaussian_kl(*tensors, **options)
    weights = _upstream(eps), _upstream(kl)

    def ours_values() -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        leaves = [t.detach().requires_grad_() for t in tensors]
        found = functional.reparameterize_kl(
            leaves[0],
            leaves[1],
            **_named(leaves[2:]),
            generator=_generator(device),
            samples=case.samples,
            impl=impl,
            **options,
        )
        return _with_gradients(found, leaves, weights)

    def values(inputs: tuple[Tensor, ...], noise: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        leaves = [t.detach().requires_grad_() for t in inputs]
        found = reference.reparameterize_kl(leaves[0], leaves[1], noise, **_named(leaves[2:]), **options)
        return _with_gradients(found, leaves, weights)

    ours, seconds = timed(ours_values, device)
    same, truth = values(tensors, eps), values(tuple(t.double() for t in tensors), eps.double())
    yield from _compare("reparameterize_kl", case, seconds, ours, same, truth)


def _with_gradients(
    found: tuple[Tensor, Tensor], leaves: list[Tensor], weights: tuple[Tensor, Tensor]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    gradients = torch.autograd.grad(found, leaves, [w.to(t) for w, t in zip(weights, found, strict=True)])
    return tuple(t.detach() for t in found), gradients


def _compare(
    operation: str,
    case: GaussianCase,
    seconds: float,
    ours: tuple[tuple[Tensor, ...], ...],
    same: tuple[tuple[Tensor, ...], ...],
    truth: tuple[tuple[Tensor, ...], ...],
) -> Iterator[Result]:
    for name, parts in ((operation, 0), (f"{operation}, backward", 1)):
        triples = zip(ours[parts], same[parts], truth[parts], strict=True)
        yield Result(name, case, seconds / 2, max(_error(case, *triple) for triple in triples))


def _error(case: GaussianCase, ours: Tensor, same: Tensor, truth: Tensor) -> float:
    """In units of what is allowed. What is not finite must be so in ours too, and is left out of the rest."""
    finite = truth.isfinite()
    if not torch.equal(ours.isfinite(), finite):
        return math.inf
    ours, same, truth = ours[finite], same[finite], truth[finite]
    if not truth.numel():
        return 0.0
    rounding = torch.finfo(ours.dtype).eps if ours.dtype != torch.float32 else 16 * UNIT
    return error_share((ours, same, truth), rounding * truth.abs().max())


def _noise(case: GaussianCase, device: torch.device, impl: Impl | None) -> Tensor:
    """ε, float32, as the sample of N(0, 1) in the same layout."""
    mean, logvar, *prior = case.standard(device)
    return functional.reparameterize_kl(
        mean, logvar, **_named(prior), generator=_generator(device), samples=case.samples, impl=impl
    )[0]


def _named(prior: Sequence[Tensor]) -> dict[str, Any]:
    return dict(zip(("prior_mean", "prior_logvar"), prior, strict=False))


def _generator(device: torch.device) -> Generator:
    return Generator(device).manual_seed(_SEED)


def _upstream(like: Tensor) -> Tensor:
    """Gradients to weigh a result with, the same each time."""
    return torch.randn(like.shape, generator=Generator().manual_seed(1)).to(like.device)
