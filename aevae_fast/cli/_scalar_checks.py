"""`finite_scalar_quantize` and `lookup_free_quantize` held against the float64 reference: codes, losses, gradients."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from aevae_fast import functional
from aevae_fast.functional import Impl
from aevae_fast.functional._levels import VARIANTS
from aevae_fast.reference.finite_scalar_quantize import BOUNDS

from ._cases import DTYPES, LAYOUTS, lay_out
from ._result import Result, timed
from ._verdict import UNIT, error_share


class LevelsCase(NamedTuple):
    """Rows whose entries are rounded to levels."""

    rows: int
    levels: tuple[int, ...]
    dtype: torch.dtype
    variant: str = "tanh"
    layout: str = "rows"

    def __str__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{self.rows} rows, levels {'-'.join(map(str, self.levels))}, {dtype} {self.variant} {self.layout}"

    def draw(self, device: torch.device) -> tuple[Tensor, Tensor, int]:
        """x, an upstream gradient alike, and the axis that holds the entries. The same numbers each time."""
        return _draw(self.rows, len(self.levels), self.dtype, self.layout, device)


class SignsCase(NamedTuple):
    """Rows whose signs are the bits of an index; entropies of groups of `group` bits."""

    rows: int
    bits: int
    dtype: torch.dtype
    group: int | None = None
    inv_temperature: float = 0.5
    layout: str = "rows"

    def __str__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        group = "" if self.group is None else f", groups of {self.group}"
        return f"{self.rows} rows of {self.bits} bits{group}, {dtype} τ={self.inv_temperature} {self.layout}"

    def draw(self, device: torch.device) -> tuple[Tensor, Tensor, int]:
        return _draw(self.rows, self.bits, self.dtype, self.layout, device)


def _draw(rows: int, dim: int, dtype: torch.dtype, layout: str, device: torch.device) -> tuple[Tensor, Tensor, int]:
    generator = Generator().manual_seed(0)
    (x, axis), (upstream, _) = (
        lay_out(torch.randn(rows, dim, generator=generator).to(device, dtype), layout) for _ in "xg"
    )
    return x, upstream, axis


def levels_cases(quick: bool) -> Iterator[LevelsCase]:
    """Every dtype over levels and layouts, every variant, and an index of more than 32 bits."""
    rows = 200 if quick else 2048
    for dtype in DTYPES:
        for levels in ((8, 5, 5, 5), (7,)) if quick else ((8, 5, 5, 5), (7,), (8, 8, 8, 5, 5, 5), (3,) * 17):
            yield LevelsCase(rows + 5, levels, dtype)
        for layout in LAYOUTS[1:]:
            yield LevelsCase(rows, (8, 5, 5, 5), dtype, layout=layout)
    for variant in VARIANTS[1:]:
        yield LevelsCase(rows + 5, (8, 5, 5, 5), torch.float32, variant)
    yield LevelsCase(rows + 5, (4,) * 20, torch.float32)


def signs_cases(quick: bool) -> Iterator[SignsCase]:
    """Every dtype over bits and layouts; several groups; an index of more than 32 bits; bits that are sure."""
    rows = 200 if quick else 2048
    for dtype in DTYPES:
        for bits, group in ((6, None), (10, 4)) if quick else ((1, None), (6, None), (10, None), (10, 4), (18, 9)):
            yield SignsCase(rows + 5, bits, dtype, group)
        for layout in LAYOUTS[1:]:
            yield SignsCase(rows, 6, dtype, layout=layout)
    yield SignsCase(rows + 5, 40, torch.float32, 4)
    yield SignsCase(rows + 5, 10, torch.float32, None, 100.0)


def check_finite_scalar_quantize(case: LevelsCase, device: torch.device, impl: Impl | None) -> Iterator[Result]:
    """An index is wrong where it differs though the float64 value is farther from where two levels meet than float32
    rounds; values are compared where it is not."""
    x, upstream, dim = case.draw(device)

    def values(x: Tensor, impl: Impl | None) -> tuple[Tensor, Tensor, Tensor]:
        leaf = x.detach().requires_grad_()
        options: dict[str, Any] = {"variant": case.variant, "dim": dim, "impl": impl}
        quantized, indices = functional.finite_scalar_quantize(leaf, case.levels, **options)
        (grad,) = torch.autograd.grad(quantized, leaf, upstream.to(quantized))
        return quantized.detach().movedim(dim, -1), indices, grad

    ours, seconds = timed(lambda: values(x, impl), device)
    same, truth = values(x, "reference"), values(x.double(), "reference")
    count = torch.tensor(case.levels, dtype=torch.float64, device=device)
    y = BOUNDS[case.variant](x.movedim(dim, -1).double(), count)
    halfway = 0.0 if case.variant.startswith("symmetric") else 0.5
    meeting = ((y - y.floor() - halfway).abs() % 1 <= 8 * UNIT * count).any(-1)
    differing = ours[1] != truth[1]
    agree = ~(differing | (same[1] != truth[1]))
    eps = torch.finfo(case.dtype).eps
    error = error_share([found[0][agree] for found in (ours, same, truth)], eps)
    grad_error = error_share([found[2] for found in (ours, same, truth)], eps * truth[2].abs().max() + 8 * UNIT)
    wrong = int((differing & ~meeting).sum())
    yield Result("finite_scalar_quantize", case, seconds / 2, error, int(differing.sum()), wrong)
    yield Result("finite_scalar_quantize, backward", case, seconds / 2, grad_error)


def check_lookup_free_quantize(case: SignsCase, device: torch.device, impl: Impl | None) -> Iterator[Result]:
    """Indices must be exact: a sign has no rounding."""
    x, upstream, dim = case.draw(device)

    def values(x: Tensor, impl: Impl | None) -> tuple[functional.LookupFree, Tensor]:
        leaf = x.detach().requires_grad_()
        options: dict[str, Any] = {"inv_temperature": case.inv_temperature, "group_size": case.group, "dim": dim}
        found = functional.lookup_free_quantize(leaf, **options, impl=impl)
        weights = [upstream.to(found.quantized), *(torch.full_like(found[2], w) for w in (1.0, 0.7, -0.3))]
        outputs = [found.quantized, *found[2:]]
        (grad,) = torch.autograd.grad(outputs, leaf, weights)
        return found, grad

    (ours, grad), seconds = timed(lambda: values(x, impl), device)
    (same, same_grad), (truth, true_grad) = values(x, "reference"), values(x.double(), "reference")
    wrong = int((ours.indices != truth.indices).sum())
    codes = [found.quantized.detach() for found in (ours, same, truth)]
    error = error_share(codes, torch.finfo(case.dtype).eps)
    for mine, theirs, exact in zip(ours[2:], same[2:], truth[2:], strict=True):
        losses = [loss.detach() for loss in (mine, theirs, exact)]
        error = max(error, error_share(losses, 8 * UNIT * exact.detach() + _LEAST))
    # Each of the two operations rounds its gradient to the dtype, and autograd their sum.
    rounding = 2 * torch.finfo(case.dtype).eps * true_grad.abs().max() + 8 * UNIT * case.inv_temperature
    yield Result("lookup_free_quantize", case, seconds / 2, error, wrong, wrong)
    yield Result(
        "lookup_free_quantize, backward", case, seconds / 2, error_share([grad, same_grad, true_grad], rounding)
    )


_LEAST = math.ldexp(1.0, -60)  # nats, below which an entropy counts as 0
