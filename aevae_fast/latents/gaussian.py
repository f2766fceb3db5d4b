"""`GaussianLatent`: the bottleneck of a variational autoencoder."""

from typing import Any

import torch
from torch import Tensor, nn

from .. import functional
from ..functional import Impl
from ..functional._dispatch import check_impl
from ..functional._latents import check_options


class GaussianLatent(nn.Module):
    """z ~ N(mean, σ²) by reparameterization, and KL(N(mean, σ²) ‖ prior); Kingma & Welling 2014 (arXiv:1312.6114).

    In training z is a sample: mean + σ·ε. In `eval()` z is the mean itself, and the KL is the same as in training. The
    noise follows from torch's generator, also under activation checkpointing, and is not kept for the backward pass;
    ranks draw different noise where their generators are seeded differently.

    Args:
        dim: the axis of the encoder's output that holds mean and log-variance, one half after the other. It must not be
            the batch, axis 0.
        parameterization: what the second half holds: "logvar" ln σ², "logstd" ln σ, "std" σ, "softplus" ln(e^σ - 1). A
            negative σ is an error on a CPU, and NaN on a GPU and in a compiled graph.
        clamp: (lo, hi) within which the second half is taken, as (-30, 20) in latent diffusion models; the gradient is
            1 at both ends and 0 beyond.
        reduction: of the KL. "none": per element; "latent": summed over all but the batch; "batch": the mean of that.
        samples: how many z to draw for each input, along a new first axis; None: one, with no axis for it.
        free_bits: nats that each element of the KL counts at least (Kingma et al. 2016); no gradient below.
        impl: force "reference", "portable" or "triton"; None lets the device decide.

    Shapes:
        x: `[B, ..., 2·D, ...]`, twice D along dim; or x the mean and logvar its like, `[B, ..., D, ...]`.
        prior_mean, prior_logvar: broadcast to the mean; N(0, 1) where absent. They may require grad.
        Returns z (x's dtype; `[B, ..., D, ...]`, or with samples in front) and kl (nats, float32: z's shape, `[B]` or
        0-d).

    Raises:
        ValueError, TypeError: an argument that does not fit, named.
    """

    def __init__(
        self,
        dim: int = 1,
        *,
        parameterization: str = "logvar",
        clamp: tuple[float, float] | None = None,
        reduction: str = "batch",
        samples: int | None = None,
        free_bits: float = 0.0,
        impl: Impl | None = None,
    ) -> None:
        super().__init__()
        check_options(parameterization, clamp, free_bits, reduction, samples)
        check_impl(impl)
        if isinstance(dim, bool) or not isinstance(dim, int):
            raise TypeError(f"dim must be an int, the axis that holds both halves; got {type(dim).__name__}")
        if dim == 0:
            raise ValueError("dim must not be the batch, axis 0; got 0")
        self.dim, self.parameterization, self.clamp = dim, parameterization, clamp
        self.reduction, self.samples, self.free_bits, self.impl = reduction, samples, free_bits, impl

    def forward(
        self,
        x: Tensor,
        logvar: Tensor | None = None,
        *,
        prior_mean: Tensor | None = None,
        prior_logvar: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        mean, logvar = self._halves(x) if logvar is None else (x, logvar)
        options: dict[str, Any] = {
            "parameterization": self.parameterization,
            "clamp": self.clamp,
            "reduction": self.reduction,
            "free_bits": self.free_bits,
            "prior_mean": prior_mean,
            "prior_logvar": prior_logvar,
            "impl": self.impl,
        }
        if self.training:
            return functional.reparameterize_kl(mean, logvar, generator=generator, samples=self.samples, **options)
        kl = functional.gaussian_kl(mean, logvar, **options)
        return mean if self.samples is None else mean.expand(self.samples, *mean.shape), kl

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not isinstance(x, Tensor):
            raise TypeError(f"x must be a torch.Tensor; got {type(x).__name__}")
        if not -x.ndim <= self.dim < x.ndim or self.dim % x.ndim == 0:
            raise ValueError(f"x must have an axis {self.dim} beside the batch, axis 0; got shape {tuple(x.shape)}")
        if x.shape[self.dim] % 2:
            raise ValueError(
                f"x must hold mean and log-variance along dim {self.dim}, an even size; got shape {tuple(x.shape)}"
            )
        mean, logvar = x.chunk(2, self.dim)
        return mean, logvar

    def extra_repr(self) -> str:
        parts = [f"dim={self.dim}", f"parameterization={self.parameterization!r}", f"reduction={self.reduction!r}"]
        parts += [f"clamp={self.clamp}"] if self.clamp is not None else []
        parts += [f"samples={self.samples}"] if self.samples is not None else []
        return ", ".join(parts + ([f"free_bits={self.free_bits}"] if self.free_bits else []))
