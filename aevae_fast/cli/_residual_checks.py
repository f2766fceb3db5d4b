"""`residual_vector_quantize` held against the float64 reference: each stage's indices for the residuals that it met,
values, gradients and statistics; sizes that differ, layouts, stages that are not used, masks, hard data."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from aevae_fast import functional, reference
from aevae_fast.functional import Impl

from ._cases import DTYPES, LAYOUTS, Case, row_count
from ._result import Result, timed
from ._verdict import UNIT, error_share, wrong_indices

DATA = ("normal", "offset", "duplicates", "not finite")


class ResidualCase(NamedTuple):
    """Vectors and the codebooks of the stages. active: how many of them are used."""

    rows: int
    dim: int
    sizes: tuple[int, ...]
    dtype: torch.dtype
    data: str = "normal"
    layout: str = "rows"
    detach_residual: bool = True
    active: int | None = None
    masked: bool = False

    def __str__(self) -> str:
        usual = type(self)(self.rows, self.dim, self.sizes, self.dtype)._asdict()
        options = [f"{name}={value}" for name, value in self._asdict().items() if value != usual[name]]
        dtype = str(self.dtype).removeprefix("torch.")
        return " ".join([f"{self.rows}x{self.dim}, stages of {self.sizes}, {dtype}", *options])

    def draw(self, device: torch.device) -> tuple[Tensor, list[Tensor], dict[str, Any]]:
        """x, the codebooks, and the options. The same numbers each time."""
        first = Case(self.data, self.rows, self.dim, self.sizes[0], self.dtype, layout=self.layout)
        x, codebook, dim = first.draw(device)
        generator, scale = Generator().manual_seed(2), 0.01 if self.data == "offset" else 1.0
        later = [torch.randn(size, self.dim, generator=generator) * scale * 0.6**q for q, size in enumerate(self.sizes)]
        mask = torch.rand(x.movedim(dim, -1).shape[:-1], generator=generator) > 0.3
        options = {
            "dim": dim,
            "detach_residual": self.detach_residual,
            "active": None if self.active is None else torch.tensor(self.active, device=device),
            "mask": mask.to(device) if self.masked else None,
        }
        return x, [codebook, *(codes.to(device) for codes in later[1:])], options


def residual_cases(quick: bool, elements: int) -> Iterator[ResidualCase]:
    """Every dtype over sizes and layouts, then the options one by one, and hard data."""
    shapes = [(5, (20, 7)), (64, (100, 32, 100))]
    shapes += [] if quick else [(1, (100, 3)), (8, (1024,) * 9), (128, (1024,) * 8), (100, (1, 300, 17, 1024))]
    for dtype in DTYPES:
        for dim, sizes in shapes:
            yield ResidualCase(row_count(dim, sum(sizes), elements), dim, sizes, dtype)
        plain = ResidualCase(row_count(17, 180, elements, "strided"), 17, (100, 30, 50), dtype)
        for layout in LAYOUTS[1:]:
            yield plain._replace(layout=layout)
        yield plain._replace(detach_residual=False)
        yield plain._replace(active=2)
        yield plain._replace(masked=True)
    for data in DATA[1:]:
        yield ResidualCase(row_count(64, 200, elements), 64, (100, 50, 50), torch.float32, data)


class _Step(NamedTuple):
    quantized: Tensor
    indices: Tensor
    losses: Tensor
    gradients: tuple[Tensor, ...]


def _forward(
    x: Tensor, codebooks: list[Tensor], options: dict[str, Any], impl: Impl | None
) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    leaves = [tensor.detach().requires_grad_() for tensor in (x, *codebooks)]
    return leaves, functional.residual_vector_quantize(leaves[0], leaves[1:], impl=impl, **options)


def _backward(run: tuple[list[Tensor], tuple[Tensor, ...]], upstream: Tensor) -> _Step:
    leaves, (quantized, indices, losses) = run
    weights = (upstream.to(quantized), torch.ones_like(losses))
    gradients = torch.autograd.grad((quantized, losses), leaves, weights)
    return _Step(quantized.detach(), indices, losses.detach(), gradients)


def check_residual_vector_quantize(case: ResidualCase, device: torch.device, impl: Impl | None) -> Iterator[Result]:
    """Elements are compared in rows where all indices agree, sums over rows where all rows do."""
    x, codebooks, options = case.draw(device)
    upstream = torch.randn(x.shape, generator=Generator().manual_seed(1)).to(x)
    run, forward_seconds = timed(lambda: _forward(x, codebooks, options, impl), device)
    ours, backward_seconds = timed(lambda: _backward(run, upstream), device)
    same = _backward(_forward(x, codebooks, options, "reference"), upstream)
    double = [codes.double() for codes in codebooks]
    truth = _backward(_forward(x.double(), double, options, "reference"), upstream)
    steps, dim = (ours, same, truth), options["dim"]

    def rows_of(tensor: Tensor) -> Tensor:
        return tensor.movedim(dim, -1).reshape(-1, case.dim)

    agree = ((ours.indices == truth.indices) & (same.indices == truth.indices)).flatten(0, -2).all(1)
    finite = truth.losses.isfinite().all()
    rows = agree & rows_of(x).isfinite().all(1)
    eps = torch.finfo(case.dtype).eps
    quantized = [rows_of(step.quantized)[rows] for step in steps]
    grad_x = [rows_of(step.gradients[0])[rows] for step in steps]
    forward = error_share(quantized, eps * sum(codes.abs().max() for codes in codebooks))
    backward = error_share(grad_x, eps * truth.gradients[0].nan_to_num(0.0, 0.0, 0.0).abs().max())
    if not finite:
        forward = math.inf if ours.losses.isfinite().any() else forward
    elif agree.all():
        forward = max(forward, error_share([step.losses for step in steps], 8 * UNIT * truth.losses.max()))
        terms = _terms(rows_of(x).double(), double, truth.indices.flatten(0, -2))
        for q, term in enumerate(terms, 1):
            backward = max(backward, error_share([s.gradients[q] for s in steps], 8 * UNIT * term * 2 / x.numel()))
    counted = _count_indices(case, rows_of(x), codebooks, ours.indices.flatten(0, -2), options["mask"])
    yield Result("residual_vector_quantize", case, forward_seconds, forward, *counted)
    yield Result("residual_vector_quantize, backward", case, backward_seconds, backward)
    yield _statistics(case, x, codebooks, dim, impl)


def _terms(left: Tensor, codebooks: list[Tensor], indices: Tensor) -> Iterator[Tensor]:
    """For each stage the largest Σ|r| + Σ|c| over its codes, which cancel in its gradient."""
    for codes, chosen in zip(codebooks, indices.unbind(1), strict=True):
        counts, sums = reference.codebook_statistics(left.abs(), chosen, len(codes))
        yield (counts[:, None] * codes.abs() + sums).max()
        left = left - codes[chosen.clamp(min=0)]


def _count_indices(
    case: ResidualCase, left: Tensor, codebooks: list[Tensor], indices: Tensor, mask: Tensor | None
) -> tuple[int, int]:
    """How many indices differ from the float64 argmin for the residual that was met, and how many are wrong."""
    keep = torch.ones(len(left), dtype=torch.bool, device=left.device) if mask is None else mask.flatten()
    left, differing, wrong = left.float(), 0, int((indices[~keep] != -1).sum())
    for q, (codes, chosen) in enumerate(zip(codebooks, indices.unbind(1), strict=True)):
        if case.active is not None and q >= case.active:
            wrong += int((chosen != -1).sum())
            continue
        best = reference.nearest_code(left[keep].double(), codes.double())
        differing += int((chosen[keep] != best).sum())
        wrong += int(wrong_indices(left[keep], codes, chosen[keep], best, "euclidean").sum())
        left = left - codes[chosen.clamp(min=0)]
    return differing, wrong


def _statistics(case: ResidualCase, x: Tensor, codebooks: list[Tensor], dim: int, impl: Impl | None) -> Result:
    """Counts must be exact; -1 among the indices is skipped."""
    last = x.movedim(dim, -1).nan_to_num(0.0, 0.0, 0.0)
    generator = Generator().manual_seed(3)
    drawn = [torch.randint(-1, size, last.shape[:-1], generator=generator) for size in case.sizes]
    indices = torch.stack(drawn, -1).to(x.device)
    args = (last, codebooks, indices)
    found, seconds = timed(lambda: functional.residual_statistics(*args, impl=impl), x.device)
    same = reference.residual_statistics(*args)
    truth = reference.residual_statistics(last.double(), [codes.double() for codes in codebooks], indices)
    error = 0.0
    for q, (ours, plain, exact) in enumerate(zip(found, same, truth, strict=True)):
        if not torch.equal(ours[0].double(), exact[0]):
            error = math.inf
        largest = last.abs().max().double() + sum(codes.abs().max() for codes in codebooks[:q])
        error = max(error, error_share((ours[1], plain[1], exact[1]), 8 * UNIT * exact[0].max() * largest))
    return Result("residual_statistics", case, seconds, error)
