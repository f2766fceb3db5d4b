"""Configurations of the mixture kernels: what gaussian_logsumexp launches, forward and backward."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from aevae_fast.kernels import gaussian_logsumexp as forward
from aevae_fast.kernels import gaussian_logsumexp_bwd as backward

from .launches import Recorder, launch
from .machine_code import Case

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
DIMENSIONS = (1, 3, 10, 16, 32, 64, 128)
KERNELS = {"joint": forward, "marginals": forward, "rows_bwd": backward, "components_bwd": backward}
_POINTS, _COMPONENTS = 1024, 512


def mixture_case(
    kernel: str, dimension: int, dtype: str, marginals: bool = True, weights: bool = False, diagonals: int = 0
) -> Case:
    """One of KERNELS as its launcher launches it, joint density and marginals together or the joint alone."""
    z = torch.empty(_POINTS, dimension, dtype=DTYPES[dtype])
    mean, logvar = torch.empty(2, _COMPONENTS, dimension).unbind()
    weight = torch.empty(_COMPONENTS) if weights else None
    mixture = (z, mean, logvar, weight, [0.5] * diagonals)
    joint, each = torch.empty(_POINTS), torch.empty(_POINTS, dimension)
    call: Callable[[], Any] = partial(forward.gaussian_logsumexp, *mixture, marginals)
    if kernel.endswith("bwd"):
        call = partial(backward.gaussian_logsumexp_backward, joint, each if marginals else None, joint, each, *mixture)
    seen = _launched(kernel, call)
    options = [*([] if marginals else ["joint"]), *(["weights"] if weights else [])]
    options += [f"{diagonals} diagonals"] if diagonals else []
    name = " ".join([f"mixture_{kernel} D={dimension} {dtype}", *options])
    return Case(name, seen.kernel, seen.seen, seen.warps)


def _launched(name: str, call: Callable[[], Any]) -> Recorder:
    """The launch of one kernel; those of the others come to nothing."""
    for other, module in KERNELS.items():
        if other != name:
            call = partial(launch, module, f"_{other}_kernel", call)
    return launch(KERNELS[name], f"_{name}_kernel", call)


def mixture_cases(every: bool = False) -> Iterator[Case]:
    """Each D and dtype with and without marginals, diagonals on top; else each kernel once, and its joint form."""
    for kernel in KERNELS:
        if not every:
            yield mixture_case(kernel, 32, "fp32")
            if kernel != "marginals":
                yield mixture_case(kernel, 32, "fp32", marginals=False)
            continue
        for dimension, dtype in itertools.product(DIMENSIONS, DTYPES):
            yield mixture_case(kernel, dimension, dtype)
            if kernel != "marginals":
                yield mixture_case(kernel, dimension, dtype, marginals=False)
        yield mixture_case(kernel, 32, "fp32", weights=True)
        for diagonals in (1, 2):
            yield mixture_case(kernel, 32, "fp32", diagonals=diagonals)
