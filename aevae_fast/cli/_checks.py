"""Each operation held against the float64 reference on one case: index differences, errors, time.

An error counts in units of what is allowed: the reference's own error in the same dtype plus the rounding of the
result. An index that differs counts as wrong only beyond float32's own rounding, see `wrong_indices`.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from aevae_fast import functional, reference
from aevae_fast.functional import Impl

from ._cases import Case, layer_cases, search_cases
from ._gaussian_cases import gaussian_cases
from ._gaussian_checks import check_gaussian_kl, check_reparameterize_kl
from ._mixture_checks import check_gaussian_logsumexp, mixture_cases
from ._residual_checks import check_residual_vector_quantize, residual_cases
from ._result import Result, timed
from ._scalar_checks import check_finite_scalar_quantize, check_lookup_free_quantize, levels_cases, signs_cases
from ._verdict import UNIT, error_share, wrong_indices

Check = Callable[[torch.device, Impl | None], Iterator[Result]]


def rows_of(x: Tensor, dim: int) -> Tensor:
    return x.movedim(dim, -1).reshape(-1, x.shape[dim])


def check_nearest_code(case: Case, device: torch.device, impl: Impl | None) -> Iterator[Result]:
    x, codebook, dim = case.draw(device)
    options: dict[str, Any] = {"metric": case.metric, "dim": dim, "impl": impl}
    indices, seconds = timed(lambda: functional.nearest_code(x, codebook, **options), device)
    yield Result("nearest_code", case, seconds, None, *_compare_indices(case, x, codebook, dim, indices))


def _compare_indices(case: Case, x: Tensor, codebook: Tensor, dim: int, indices: Tensor) -> tuple[int, int]:
    """How many indices differ from the float64 argmin, and how many are wrong."""
    rows, indices = rows_of(x, dim), indices.flatten()
    best = reference.nearest_code(rows.double(), codebook.double(), case.metric)
    return int((indices != best).sum()), int(wrong_indices(rows, codebook, indices, best, case.metric).sum())


class _Step(NamedTuple):
    """Inputs, outputs and gradients of one `vector_quantize`."""

    x: Tensor
    codebook: Tensor
    quantized: Tensor
    indices: Tensor
    loss: Tensor
    gradients: tuple[Tensor, ...] = ()


def _forward(x: Tensor, codebook: Tensor, options: dict[str, Any]) -> _Step:
    x, codebook = x.detach().requires_grad_(), codebook.detach().requires_grad_()
    return _Step(x, codebook, *functional.vector_quantize(x, codebook, **options))


def _backward(step: _Step, upstream: Tensor) -> _Step:
    weights = (upstream.to(step.quantized), torch.ones_like(step.loss))
    return step._replace(
        gradients=torch.autograd.grad((step.quantized, step.loss), (step.x, step.codebook), weights),
        quantized=step.quantized.detach(),
        loss=step.loss.detach(),
    )


def check_vector_quantize(case: Case, device: torch.device, impl: Impl | None) -> Iterator[Result]:
    """Forward and backward; elements are compared in rows where the indices agree."""
    x, codebook, dim = case.draw(device)
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(x)
    options: dict[str, Any] = {"metric": case.metric, "dim": dim}
    plain = options | {"impl": "reference"}
    ours, forward_seconds = timed(lambda: _forward(x, codebook, options | {"impl": impl}), device)
    ours, backward_seconds = timed(lambda: _backward(ours, upstream), device)
    same = _backward(_forward(x, codebook, plain), upstream)
    truth = _backward(_forward(x.double(), codebook.double(), plain), upstream)
    steps = (ours, same, truth)

    agree = ((ours.indices == truth.indices) & (same.indices == truth.indices)).flatten()
    eps = torch.finfo(case.dtype).eps
    quantized = [rows_of(step.quantized, dim)[agree] for step in steps]
    grad_x = [rows_of(step.gradients[0], dim)[agree] for step in steps]
    grad_codebook = [step.gradients[1] for step in steps]
    forward_error = max(
        error_share(quantized, eps * codebook.abs().max()),
        error_share([step.loss for step in steps], 8 * UNIT * truth.loss),
    )
    backward_error = error_share(grad_x, eps * truth.gradients[0].abs().max())
    if agree.all():  # one row more or less moves a code's gradient by far more than rounding
        size = rows_of(x, dim).double().abs()
        counts, sums = reference.codebook_statistics(size, truth.indices.flatten(), case.codes)
        terms = (counts[:, None] * codebook.abs() + sums) * (2 / x.numel())  # Σ|c| + Σ|x|, which cancel
        backward_error = max(backward_error, error_share(grad_codebook, 8 * UNIT * terms.max()))
    indices = _compare_indices(case, x, codebook, dim, ours.indices)
    yield Result("vector_quantize", case, forward_seconds, forward_error, *indices)
    yield Result("vector_quantize, backward", case, backward_seconds, backward_error)


def check_rotate_to(case: Case, device: torch.device, impl: Impl | None) -> Iterator[Result]:
    """The gradient that the rotation trick gives each row of x, standing for a row drawn alike."""
    x, _, dim = case.draw(device)
    generator = torch.Generator().manual_seed(1)
    target, upstream = (torch.randn(x.shape, generator=generator).to(x) for _ in range(2))

    def gradient(tensors: tuple[Tensor, ...], impl: Impl | None) -> Tensor:
        source = tensors[0].detach().requires_grad_()
        rotated = functional.rotate_to(source, tensors[1], dim=dim, impl=impl)
        return torch.autograd.grad(rotated, source, tensors[2])[0]

    tensors = (x, target, upstream)
    ours, seconds = timed(partial(gradient, tensors, impl), device)
    same, truth = gradient(tensors, "reference"), gradient(tuple(t.double() for t in tensors), "reference")
    rows = [rows_of(found, dim) for found in (ours, same, truth)]
    sizes = rows[2].norm(dim=-1, keepdim=True)  # of a row: what is turned may cancel in an entry
    error = error_share([found / sizes for found in rows], torch.finfo(case.dtype).eps)
    yield Result("rotate_to, backward", case, seconds, error)


def check_statistics(case: Case, device: torch.device, impl: Impl | None) -> Iterator[Result]:
    """Counts must be exact; -1 among the indices is skipped."""
    x, _, dim = case.draw(device)
    shape = x.movedim(dim, -1).shape[:-1]
    indices = torch.randint(-1, case.codes, shape, generator=torch.Generator().manual_seed(1)).to(device)
    take = partial(functional.codebook_statistics, x, indices, case.codes, dim=dim, impl=impl)
    (counts, sums), seconds = timed(take, device)
    rows, flat = rows_of(x, dim), indices.flatten()
    same = reference.codebook_statistics(rows, flat, case.codes)
    truth = reference.codebook_statistics(rows.double(), flat, case.codes)
    size = reference.codebook_statistics(rows.double().abs(), flat, case.codes)[1].max()
    exact = torch.equal(counts.double(), truth[0])
    error = error_share((sums, same[1], truth[1]), 8 * UNIT * size) if exact else math.inf
    yield Result("codebook_statistics", case, seconds, error)


def check_ema_update(case: Case, device: torch.device, impl: Impl | None) -> Iterator[Result]:
    """Three steps from a fresh state, a third of the codes unused. Its state is float32 whatever x is."""
    _, codebook, _ = case.draw(device)
    generator = torch.Generator().manual_seed(1)
    for metric in ("euclidean", "cosine"):
        ours = (codebook.clone(), torch.ones(case.codes, device=device), codebook.clone())
        same = (codebook, ours[1].clone(), codebook)
        truth = (codebook.double(), ours[1].double(), codebook.double())
        seconds = 0.0
        for _ in range(3):
            counts = torch.randint(0, 50, (case.codes,), generator=generator).float().to(device)
            counts[::3] = 0
            sums = torch.randn(case.codes, case.dim, generator=generator).to(device) * counts[:, None]
            update = partial(functional.ema_update_, *ours, counts, sums, metric=metric, impl=impl)
            seconds += timed(update, device)[1]
            same = reference.ema_update(*same, counts, sums, metric=metric)
            truth = reference.ema_update(*truth, counts.double(), sums.double(), metric=metric)
        errors = (error_share(found, 4 * UNIT * found[2].abs().max()) for found in zip(ours, same, truth, strict=True))
        yield Result("ema_update_", case._replace(metric=metric), seconds, max(errors))


def plan(quick: bool, device: torch.device) -> list[Check]:
    """Every check on every case, ready to run. A GPU gets more rows: its float64 reference is faster."""
    elements = (1 << 20 if quick else 1 << 25) * (16 if device.type == "cuda" else 1)
    layers = list(layer_cases(quick, elements // 4))
    checks: list[Check] = [partial(check_nearest_code, case) for case in search_cases(quick, elements)]
    of_layers = (check_vector_quantize, check_rotate_to, check_statistics)
    checks += [partial(check, case) for check in of_layers for case in layers]
    updates = [case for case in layers if case.dtype == torch.float32 and case.layout == "rows"]
    checks += [partial(check_ema_update, case) for case in updates]
    gaussians = list(gaussian_cases(quick, elements // 64))
    checks += [partial(check, case) for check in (check_gaussian_kl, check_reparameterize_kl) for case in gaussians]
    checks += [partial(check_gaussian_logsumexp, case) for case in mixture_cases(quick)]
    checks += [partial(check_finite_scalar_quantize, case) for case in levels_cases(quick)]
    checks += [partial(check_lookup_free_quantize, case) for case in signs_cases(quick)]
    checks += [partial(check_residual_vector_quantize, case) for case in residual_cases(quick, elements // 8)]
    return checks
