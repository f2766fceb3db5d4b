"""Configurations of the scalar quantizers' kernels: finite scalar, lookup-free, and the tables of bit groups."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import torch

from aevae_fast.functional._levels import bounds
from aevae_fast.kernels import code_probabilities, finite_scalar_quantize, lookup_free_quantize

from .launches import launch
from .machine_code import Case

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
LAYOUTS = ("rows", "channels")
LEVELS = {"8-5-5-5": [8, 5, 5, 5], "8-8-8-5-5-5": [8, 8, 8, 5, 5, 5], "3x16": [3] * 16, "4x31": [4] * 31, "7": [7]}
BITS, GROUPS = (1, 10, 18, 40), (1, 4, 9, 12, 18)
_BATCH, _LENGTH = 4, 1024


def _rows(dimension: int, dtype: str, layout: str) -> torch.Tensor:
    if layout == "rows":
        return torch.empty(1, _BATCH * _LENGTH, dimension, dtype=DTYPES[dtype])
    return torch.empty(_BATCH, dimension, _LENGTH, dtype=DTYPES[dtype]).transpose(1, 2)


def _mask(x: torch.Tensor) -> torch.Tensor:
    return torch.ones(x.shape[:2], dtype=torch.bool)


def _case(name: str, module: ModuleType, kernel: str, call: Callable[[], Any], elements: int = 0) -> Case:
    seen = launch(module, f"_{kernel}_kernel", call)
    per_program = seen.seen["BLOCK_N"] * elements
    return Case(name, seen.kernel, seen.seen, seen.warps, elements=per_program)


def levels_cases(
    name: str, dtype: str, layout: str, variant: str = "tanh", masked: bool = True, noisy: bool = False
) -> Iterator[Case]:
    """Finite scalar quantization, forward and backward."""
    levels = LEVELS[name]
    x = _rows(len(levels), dtype, layout)
    mask = _mask(x) if masked else None
    noise = torch.empty(x.shape) if noisy else None
    scheme = bounds(levels, variant)
    tail = f"{name} {dtype} {layout}" + (f" {variant}" if variant != "tanh" else "")
    tail += ("" if masked else " unmasked") + (" noise" if noisy else "")
    forward = partial(finite_scalar_quantize.finite_scalar_quantize, x, *scheme, mask, noise)
    yield _case(f"fsq {tail}", finite_scalar_quantize, "finite_scalar_quantize", forward, len(levels))
    if not noisy:
        backward = partial(finite_scalar_quantize.finite_scalar_quantize_backward, x, x, *scheme, mask)
        yield _case(f"fsq_bwd {tail}", finite_scalar_quantize, "finite_scalar_quantize_bwd", backward, len(levels))


def signs_cases(bits: int, dtype: str, layout: str, entropy: bool = True, masked: bool = True) -> Iterator[Case]:
    """Lookup-free quantization, forward and backward."""
    x = _rows(bits, dtype, layout)
    mask, slope, scalar = _mask(x) if masked else None, 400.0 if entropy else 0.0, torch.empty(())
    tail = f"{bits} {dtype} {layout}" + ("" if masked else " unmasked") + ("" if entropy else " plain")
    module = lookup_free_quantize
    forward = partial(module.lookup_free_quantize, x, mask, 1.0, slope)
    yield _case(f"lfq {tail}", module, "lookup_free_quantize", forward, bits)
    backward = partial(module.lookup_free_quantize_backward, x, x, mask, 1.0, slope, scalar, scalar)
    yield _case(f"lfq_bwd {tail}", module, "lookup_free_quantize_bwd", backward, bits)


def table_cases(group: int, dtype: str, layout: str, masked: bool = True) -> Iterator[Case]:
    """The tables of two groups of bits, and the gradient."""
    x = _rows(2 * group, dtype, layout)
    mask = _mask(x) if masked else None
    tail = f"{group} {dtype} {layout}" + ("" if masked else " unmasked")
    forward = partial(code_probabilities.code_probabilities, x, mask, 400.0, 2 * group, group)
    yield _case(f"code_probabilities {tail}", code_probabilities, "code_probabilities", forward)
    table = torch.empty(1, 2, 2**group)
    backward = partial(code_probabilities.code_probabilities_backward, table, x, mask, 400.0, 2 * group, group)
    yield _case(f"code_probabilities_bwd {tail}", code_probabilities, "code_probabilities_bwd", backward)


def scalar_cases(every: bool = False) -> Iterator[Case]:
    """Each of the shapes, dtypes and layouts, options on top; else one or two of each kernel."""
    if not every:
        for dtype, layout in (("fp32", "rows"), ("bf16", "channels")):
            yield from levels_cases("8-5-5-5", dtype, layout)
            yield from signs_cases(18, dtype, layout)
            yield from table_cases(9, dtype, layout)
        return
    for dtype, layout in itertools.product(DTYPES, LAYOUTS):
        for name in LEVELS:
            yield from levels_cases(name, dtype, layout)
        for bits in BITS:
            yield from signs_cases(bits, dtype, layout)
        for group in GROUPS:
            yield from table_cases(group, dtype, layout)
    for variant in ("ifsq", "clamp", "symmetric", "symmetric_clamp"):
        yield from levels_cases("8-5-5-5", "fp32", "rows", variant)
    yield from levels_cases("8-5-5-5", "fp32", "rows", masked=False)
    yield from levels_cases("8-5-5-5", "fp32", "rows", noisy=True)
    yield from signs_cases(18, "fp32", "rows", entropy=False)
    yield from signs_cases(18, "fp32", "rows", masked=False)
    yield from table_cases(9, "fp32", "rows", masked=False)
