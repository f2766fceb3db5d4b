"""`gaussian_logsumexp` held against the float64 reference: sizes beyond a block, weights, diagonals, hard data."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from aevae_fast import functional, reference
from aevae_fast.functional import Impl

from ._cases import DTYPES
from ._result import Result, timed
from ._verdict import UNIT, error_share

DATA = ("normal", "tiny sigma", "far points")


class MixtureCase(NamedTuple):
    """Points and the components of a mixture. "tiny sigma": σ = 1e-4 around means near 1, where an expanded square
    would lose every digit. "far points": densities that underflow."""

    rows: int
    components: int
    dim: int
    dtype: torch.dtype
    data: str = "normal"
    weights: bool = False
    diagonals: tuple[float, ...] = ()
    marginals: bool = True

    def __str__(self) -> str:
        usual = type(self)(self.rows, self.components, self.dim, self.dtype)._asdict()
        options = [f"{name}={value}" for name, value in self._asdict().items() if value != usual[name]]
        dtype = str(self.dtype).removeprefix("torch.")
        return " ".join([f"{self.rows}x{self.dim}, {self.components} components, {dtype}", *options])

    def draw(self, device: torch.device) -> tuple[Tensor, ...]:
        """z, mean and logvar in this case's dtype, and ln w if it has weights, float32. The same numbers each time."""
        generator = Generator().manual_seed(0)
        z, mean, logvar = (
            torch.randn(n, self.dim, generator=generator) for n in (self.rows, self.components, self.components)
        )
        weight = torch.randn(self.components, generator=generator).to(device)
        if self.data == "tiny sigma":
            mean, logvar = 1 + mean.abs() / 4, torch.full_like(logvar, 2 * math.log(1e-4))
            z = mean[torch.arange(self.rows) % self.components] + 2e-4 * z
        if self.data == "far points":
            z = z * torch.logspace(0, 3, self.rows)[:, None]
        tensors = [tensor.to(device, self.dtype) for tensor in (z, mean, logvar)]
        return (*tensors, weight) if self.weights else tuple(tensors)


def mixture_cases(quick: bool) -> Iterator[MixtureCase]:
    """Every dtype over sizes, then the options one by one, and hard data."""
    sizes = (
        [(35, 70, 3), (64, 64, 32)] if quick else [(35, 70, 3), (64, 64, 32), (1, 1, 1), (3, 5, 100), (512, 300, 16)]
    )
    for dtype in DTYPES:
        for rows, components, dim in sizes:
            yield MixtureCase(rows, components, dim, dtype)
        plain = MixtureCase(40, 33, 10, dtype)
        yield plain._replace(weights=True)
        yield plain._replace(diagonals=(0.3, -1.5))
        yield plain._replace(weights=True, diagonals=(0.3,), marginals=False)
    for data in DATA[1:]:
        yield MixtureCase(40, 33, 10, torch.float32, data)


def check_gaussian_logsumexp(case: MixtureCase, device: torch.device, impl: Impl | None) -> Iterator[Result]:
    """Densities, and the gradients of what weighs them unevenly."""
    tensors = case.draw(device)
    generator = Generator().manual_seed(1)
    upstream = [torch.randn(s, generator=generator).to(device) for s in ((case.rows,), (case.rows, case.dim))]

    def values(call: Any, inputs: tuple[Tensor, ...], **options: Any) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        leaves = [t.detach().requires_grad_() for t in inputs]
        found = call(*leaves, diagonals=list(case.diagonals), **options)[: 1 + case.marginals]
        weights = [w.to(t) for w, t in zip(upstream, found, strict=False)]
        return tuple(t.detach() for t in found), torch.autograd.grad(found, leaves, weights)

    ours, seconds = timed(lambda: values(functional.gaussian_logsumexp, tensors, per_dim=True, impl=impl), device)
    same = values(reference.gaussian_logsumexp, tensors)
    truth = values(reference.gaussian_logsumexp, tuple(t.double() for t in tensors))
    # a component's share is exp of a difference of log-densities: it has their absolute error
    of_shares = 4 * float(truth[0][0].abs().max())
    for name, part, units in (("gaussian_logsumexp", 0, 8), ("gaussian_logsumexp, backward", 1, 8 + of_shares)):
        triples = zip(ours[part], same[part], truth[part], strict=True)
        yield Result(name, case, seconds / 2, max(_error(*triple, units) for triple in triples))


def _error(ours: Tensor, same: Tensor, truth: Tensor, units: float) -> float:
    """In units of what is allowed."""
    rounding = units * UNIT + (0 if ours.dtype == torch.float32 else torch.finfo(ours.dtype).eps)
    return error_share((ours, same, truth), rounding * truth.abs().max())
