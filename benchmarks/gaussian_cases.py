"""The configurations of the Gaussian kernels: sample and KL, KL alone, and the gradients of both.

A layout is how mean and logvar lie in memory: "chunk" [B, 2·D] in halves, "separate" [B, D] each, "tokens" [B, S, 2·D]
in halves, "strided" with steps between the elements of a row. A channel-first map [B, 2·C, H, W] is a chunk whose D is
C·H·W. Instructions count by the elements of the tensors, not of the tiles, so that what a tile leaves empty shows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import torch

from aevae_fast.kernels import gaussian_kl, reparameterize_kl
from aevae_fast.kernels.gaussian_tiles import cut

from .launches import launch
from .machine_code import Case

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
DIMENSIONS = (1, 3, 8, 16, 17, 32, 64, 100, 128, 256, 512, 768, 1024, 4096)
LAYOUTS = ("chunk", "separate", "tokens", "strided")
PARAMETERIZATIONS = ("logvar", "logstd", "std", "softplus")
REDUCTIONS = ("batch", "latent", "none")
KERNELS = ("reparameterize_kl", "gaussian_kl", "reparameterize_kl_bwd", "gaussian_kl_bwd")
_ROWS, _LENGTH = 4096, 64


class Variant(NamedTuple):
    """What a Gaussian kernel is asked for."""

    parameterization: str = "logvar"
    clamp: bool = False
    prior: bool = False
    free_bits: bool = False
    reduction: str = "batch"
    samples: bool = False  # more than one

    def __str__(self) -> str:
        chosen = [name for name in ("clamp", "prior", "free_bits", "samples") if getattr(self, name)]
        words = [self.parameterization, *chosen, self.reduction]
        return " ".join(word for word in words if word not in ("logvar", "batch"))


PLAIN = Variant()


def _tensors(dimension: int, dtype: str, layout: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """mean and logvar [B, S, D], unwritten; and both in one [B, 2, S, D], where they are halves of one tensor."""
    length = _LENGTH if layout == "tokens" else 1
    shape, kind = (_ROWS // length, length, dimension), DTYPES[dtype]
    if layout == "separate":
        return torch.empty(shape, dtype=kind), torch.empty(shape, dtype=kind), None
    steps = 3 if layout == "strided" else 1
    both = torch.empty((*shape[:2], 2 * dimension * steps), dtype=kind)
    mean, logvar = both.chunk(2, 2)
    return mean[..., ::steps], logvar[..., ::steps], None if steps > 1 else both.unflatten(2, (2, -1)).transpose(1, 2)


def gaussian_case(
    kernel: str, dimension: int, dtype: str, layout: str, arch: str, variant: Variant = PLAIN
) -> Case:  # fmt: skip
    """One of KERNELS as its launcher launches it; a prior has tensors of its own and, backward, gradients."""
    mean, logvar, joined = _tensors(dimension, dtype, layout)
    seed = torch.zeros(1, dtype=torch.int64)
    priors = (torch.empty(mean.shape), torch.empty(mean.shape)) if variant.prior else (None, None)
    options: tuple[Any, ...] = (variant.parameterization, [-1.0, 1.0] if variant.clamp else None)
    options += (0.5 if variant.free_bits else 0.0,)
    samples = 2 if variant.samples else 1
    grad_z = torch.empty(samples, *mean.shape, dtype=mean.dtype)
    grad_kl = {"none": torch.empty(mean.shape), "latent": torch.empty(len(mean)), "batch": torch.empty(())}
    of_kl, tensors = grad_kl[variant.reduction], (mean, logvar, *priors)
    given = tensors if joined is None else (joined, None, *priors)  # of the gradients
    module, name, call = {
        "reparameterize_kl": (reparameterize_kl, "_reparameterize_kl_kernel", partial(
            reparameterize_kl.reparameterize_kl, *tensors, seed, samples, *options, variant.reduction)),
        "gaussian_kl": (gaussian_kl, "_gaussian_kl_kernel", partial(
            gaussian_kl.gaussian_kl, *tensors, *options, variant.reduction)),
        "reparameterize_kl_bwd": (gaussian_kl, "_gaussian_bwd_kernel", partial(
            gaussian_kl.gradients, grad_z, of_kl, *given, seed, *options, variant.prior)),
        "gaussian_kl_bwd": (gaussian_kl, "_gaussian_bwd_kernel", partial(
            gaussian_kl.gaussian_kl_backward, of_kl, *given, *options, variant.prior)),
    }[kernel]  # fmt: skip
    seen = launch(module, name, call)
    seen.seen["NATIVE"] = not arch.startswith("gfx")
    if not variant.samples and "samples" in seen.seen:
        seen.seen["samples"] = 1
    backward = kernel.endswith("bwd")
    form = cut(tensors, per_sample=backward and of_kl.ndim == 1, per_row=not backward and variant.reduction == "latent")
    tail = f"D={dimension} {dtype} {layout} {variant}".rstrip()
    return Case(f"{kernel} {tail}", seen.kernel, seen.seen, seen.warps, elements=mean.numel() / form.programs)


def gaussian_cases(arch: str, every: bool = False) -> Iterator[Case]:
    """Each D, dtype and layout plainly, and at D = 256 each combination of options; else a few of each."""
    if not every:
        for kernel, dtype in itertools.product(KERNELS, ("fp32", "bf16")):
            yield gaussian_case(kernel, 256, dtype, "chunk", arch)
        return
    for kernel, dimension, dtype, layout in itertools.product(KERNELS, DIMENSIONS, DTYPES, LAYOUTS):
        if dtype != "fp16" or layout == "chunk":
            yield gaussian_case(kernel, dimension, dtype, layout, arch)
    for kernel, dtype in itertools.product(KERNELS, ("fp32", "bf16")):
        for variant in _variants(kernel.startswith("reparameterize")):
            yield gaussian_case(kernel, 256, dtype, "chunk", arch, variant)


def _variants(draws: bool) -> Iterator[Variant]:
    """Every parameterization with and without a prior, with each reduction; bounds and samples on top of these."""
    for parameterization, prior in itertools.product(PARAMETERIZATIONS, (False, True)):
        for reduction in REDUCTIONS:
            yield Variant(parameterization, prior=prior, reduction=reduction)
        yield Variant(parameterization, clamp=True, prior=prior, free_bits=True)
        if draws:
            yield Variant(parameterization, prior=prior, samples=True)
