"""`GaussianLatent`: the bottleneck of a variational autoencoder."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import functional
from ..functional import Impl
from ..functional._dispatch import check_impl
from ..functional._latents import check_options, halves
from ..reference.gaussian_kl import log_variance, reduce
from .densities import gaussian_log_prob
from .latent import Latent, wide_dtype
from .priors.gaussian import GaussianPrior
from .priors.prior import Prior
from .priors.standard import StandardPrior

Parameters = tuple[Tensor | None, Tensor | None]


class GaussianLatent(Latent):
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
        prior: a `Prior` over the flattened latent instead. The KL under one that is no Gaussian is the Monte-Carlo
            estimate of one sample, `[B]` or 0-d, and takes neither free bits nor samples.
        Returns z (x's dtype; `[B, ..., D, ...]`, or with samples in front) and kl (nats, float32, float64 for float64:
        z's shape, `[B]` or 0-d).

    Raises:
        ValueError, TypeError: an argument that does not fit, named.
    """

    name = "gaussian"

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

    @classmethod
    def for_model(cls, **options: Any) -> "GaussianLatent":
        return cls(1, reduction="latent", **options)

    def encoder_width(self, dim: int) -> int:
        return 2 * dim

    def bind(self, latent_shape: Sequence[int]) -> None:
        check_for_model(self.dim, self.reduction, self.samples)

    def forward(
        self,
        x: Tensor,
        logvar: Tensor | None = None,
        *,
        prior: Prior | None = None,
        prior_mean: Tensor | None = None,
        prior_logvar: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        given, (mean, logvar) = (x, logvar), self._halves(x) if logvar is None else (x, logvar)
        gaussian: Parameters = (prior_mean, prior_logvar)
        if prior is not None:
            if prior_mean is not None or prior_logvar is not None:
                raise ValueError("prior must be None where prior_mean or prior_logvar is given; got both")
            own = gaussian_parameters(prior, mean.shape)
            if own is None:
                return self._estimated(mean, logvar, prior, generator)
            gaussian = own
        options: dict[str, Any] = {
            **self._parameter,
            "prior_mean": gaussian[0],
            "prior_logvar": gaussian[1],
            "reduction": self.reduction,
            "free_bits": self.free_bits,
            "impl": self.impl,
            "dim": self.dim,
        }
        if self.training:
            return functional.reparameterize_kl(*given, generator=generator, samples=self.samples, **options)
        kl = functional.gaussian_kl(*given, **options)
        return mean if self.samples is None else mean.expand(self.samples, *mean.shape), kl

    def _estimated(
        self, mean: Tensor, logvar: Tensor, prior: Prior, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Under a prior that is no Gaussian: one sample says what the KL is."""
        check_estimate(prior, self.free_bits, self.samples, self.reduction)
        wide = torch.promote_types(mean.dtype, torch.float32)  # z is rounded after its density was taken
        parts = mean.to(wide), logvar.to(wide)
        z, _ = functional.reparameterize_kl(*parts, generator=generator, **self._parameter, impl=self.impl)
        flat = [tensor.flatten(1) for tensor in (parts[0], self._logvar(parts[1]), z)]
        return z.to(mean.dtype) if self.training else mean, reduce(prior.kl(*flat), self.reduction)

    def mean(self, encoded: Tensor) -> Tensor:
        return self._halves(encoded)[0]

    def moments(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = self._halves(encoded)
        return mean, self._logvar(logvar)

    def kl(self, encoded: Tensor, prior: Prior | None = None) -> Tensor | None:
        mean, logvar = self.moments(encoded)
        gaussian = gaussian_parameters(prior, mean.shape)
        if gaussian is None:
            return None
        return functional.gaussian_kl(mean, logvar, *gaussian, reduction="latent", impl=self.impl)

    def draw(self, encoded: Tensor, samples: int, *, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        mean, logvar = self._halves(encoded)
        wide = wide_dtype(encoded)
        mean_, logvar_ = mean.to(wide), self._logvar(logvar.to(wide))
        noise = torch.randn(samples, *mean.shape, dtype=wide, device=mean.device, generator=generator)
        z = (mean_ + torch.exp(logvar_ / 2) * noise).to(mean.dtype)
        flat = [tensor.flatten(tensor.ndim - mean.ndim + 1) for tensor in (z.to(wide), mean_, logvar_)]
        return z, gaussian_log_prob(*flat)

    def default_prior(self, dim: int) -> Prior:
        return StandardPrior(dim)

    @property
    def _parameter(self) -> dict[str, Any]:
        return {"parameterization": self.parameterization, "clamp": self.clamp}

    def _logvar(self, logvar: Tensor) -> Tensor:
        """ln σ² of the second half; what is not finite stays so under a clamp."""
        return log_variance(logvar, **self._parameter)[1]

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return halves("x", x, self.dim)

    def options(self) -> dict[str, Any]:
        clamp = None if self.clamp is None else list(self.clamp)
        return {"parameterization": self.parameterization, "clamp": clamp, "free_bits": self.free_bits}

    def extra_repr(self) -> str:
        parts = [f"dim={self.dim}", f"parameterization={self.parameterization!r}", f"reduction={self.reduction!r}"]
        parts += [f"clamp={self.clamp}"] if self.clamp is not None else []
        parts += [f"samples={self.samples}"] if self.samples is not None else []
        return ", ".join(parts + ([f"free_bits={self.free_bits}"] if self.free_bits else []))


def gaussian_parameters(prior: Prior | None, shape: Sequence[int]) -> Parameters | None:
    """Mean and log-variance of a prior over latents of `shape [B, ...]`, as the Gaussian operations take them, each
    None where it is 0; None for both where it is no diagonal Gaussian."""
    if prior is None or isinstance(prior, StandardPrior):
        return None, None
    if not isinstance(prior, GaussianPrior):
        return None
    return prior.mean.view(shape[1:]), prior.logvar.view(shape[1:])


def check_for_model(dim: int, reduction: str, samples: int | None) -> None:
    """What a model asks of a Gaussian layer: parameters along axis 1, one z and one KL for each image."""
    if (dim, reduction, samples) != (1, "latent", None):
        raise ValueError(
            "latent must have dim=1, reduction='latent' and samples=None in a model; "
            f"got {dim}, {reduction!r} and {samples}"
        )


def check_estimate(prior: Prior, free_bits: float, samples: int | None, reduction: str) -> None:
    if free_bits or samples is not None or reduction == "none":
        raise ValueError(
            f"free_bits, samples and reduction must be 0, None and 'latent' or 'batch' under {type(prior).__name__}, "
            f"whose KL is one estimate for each input; got {free_bits}, {samples} and {reduction!r}"
        )
