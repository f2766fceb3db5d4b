"""`FullCovarianceGaussianLatent`: a Gaussian bottleneck whose dimensions may be correlated."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import functional
from ..functional._latents import check_options
from ..reference.gaussian_kl import log_variance, reduce
from ._cholesky import split, strictly_lower
from .gaussian import check_estimate, check_for_model, gaussian_parameters
from .latent import Latent, wide_dtype
from .priors.prior import Prior
from .priors.standard import StandardPrior


class FullCovarianceGaussianLatent(Latent):
    """z = mean + L·ε ~ N(mean, L·Lᵀ), L lower-triangular with a positive diagonal, and KL(N(mean, L·Lᵀ) ‖ N(0, I)) =
    ½(‖L‖²_F + ‖mean‖² - D) - Σ ln L_ii; Kingma & Welling 2019 (arXiv:1906.02691), section 2.5.1.

    In training z is a sample; in `eval()` it is the mean, and the KL is the same. It takes D² numbers for each latent
    vector, on plain PyTorch: for a few hundred dimensions at most.

    Args:
        dim: the axis of the encoder's output, of size D + D·(D + 1)/2, that holds the mean, ln L_ii, and the entries
            below the diagonal row by row, as `torch.tril_indices(D, D, -1)` has them. Without the last it would be
            the input of `GaussianLatent(dim, parameterization="logstd")`. It must not be the batch, axis 0.
        clamp: (lo, hi) within which ln L_ii is taken; the gradient is 1 at both ends and 0 beyond.
        reduction: of the KL. "none": one for each latent vector; "latent": summed over all but the batch; "batch": the
            mean of that.
        samples: how many z to draw for each input, along a new first axis; None: one, with no axis for it.
        free_bits: nats that the KL of each latent vector counts at least (Kingma et al. 2016); no gradient below.

    Shapes:
        x: `[B, ..., D + D·(D + 1)/2, ...]`; or x the mean `[B, ..., D, ...]` and cholesky what follows it,
        `[B, ..., D·(D + 1)/2, ...]`.
        prior: a `Prior` over the flattened latent, N(0, I) where absent. The KL under one that is no diagonal Gaussian
            is the Monte-Carlo estimate of one sample, and takes neither free bits nor samples.
        generator: on x's device; torch's default one where absent, which `torch.compile` and activation checkpointing
            need.
        Returns z (x's dtype; `[B, ..., D, ...]`, or with samples in front) and kl (nats, float32, float64 for float64:
        z's shape without dim, `[B]` or 0-d).

    Raises:
        ValueError, TypeError: an argument that does not fit, named.
    """

    name = "full_covariance"

    def __init__(
        self,
        dim: int = 1,
        *,
        clamp: tuple[float, float] | None = None,
        reduction: str = "batch",
        samples: int | None = None,
        free_bits: float = 0.0,
    ) -> None:
        super().__init__()
        check_options("logstd", clamp, free_bits, reduction, samples)
        if isinstance(dim, bool) or not isinstance(dim, int):
            raise TypeError(f"dim must be an int, the axis that holds the parameters; got {type(dim).__name__}")
        if dim == 0:
            raise ValueError("dim must not be the batch, axis 0; got 0")
        self.dim, self.clamp, self.reduction = dim, clamp, reduction
        self.samples, self.free_bits = samples, free_bits

    @classmethod
    def for_model(cls, **options: Any) -> "FullCovarianceGaussianLatent":
        return cls(1, reduction="latent", **options)

    def encoder_width(self, dim: int) -> int:
        return dim + dim * (dim + 1) // 2

    def bind(self, latent_shape: Sequence[int]) -> None:
        check_for_model(self.dim, self.reduction, self.samples)

    def forward(
        self,
        x: Tensor,
        cholesky: Tensor | None = None,
        *,
        prior: Prior | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        parts = self._parts(x, cholesky)
        kl = self._kl(*parts, prior)
        if kl is None:
            assert prior is not None
            return self._estimated(parts, prior, generator)
        kl = reduce(kl.clamp(min=self.free_bits) if self.free_bits else kl, self.reduction)
        mean = parts[0]
        if self.training:
            z = self._sample(*parts, self._noise(mean, 1 if self.samples is None else self.samples, generator))
            z = z[0] if self.samples is None else z
        else:
            z = mean if self.samples is None else mean.expand(self.samples, *mean.shape)
        return self._back(z, mean.ndim), kl

    def _kl(self, mean: Tensor, log_diagonal: Tensor, below: Tensor, prior: Prior | None) -> Tensor | None:
        """That of the diagonal Gaussian, and half the square of each entry below the diagonal over the variance of the
        prior in its row; `[B, ...]`."""
        shape = mean.movedim(-1, self.dim).shape
        gaussian = gaussian_parameters(prior, shape)
        if gaussian is None:
            return None
        prior_mean, logvar = (None if t is None else t[None].movedim(self.dim, -1) for t in gaussian)
        kl = functional.gaussian_kl(
            mean, log_diagonal, prior_mean, logvar, parameterization="logstd", clamp=self.clamp, reduction="none"
        ).sum(-1)
        square = below.to(kl.dtype).square()
        if logvar is not None:
            row, _ = torch.tril_indices(mean.shape[-1], mean.shape[-1], -1, device=mean.device)
            square = square * torch.exp(-logvar.to(kl.dtype)).index_select(-1, row)
        return kl + square.sum(-1) / 2

    def _estimated(
        self, parts: tuple[Tensor, Tensor, Tensor], prior: Prior, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Under a prior that is no Gaussian: one sample says what the KL is."""
        check_estimate(prior, self.free_bits, self.samples, self.reduction)
        mean, log_diagonal, below = parts
        noise = self._noise(mean, 1, generator)
        drawn = self._back(self._sample(mean.to(noise.dtype), log_diagonal, below, noise)[0], mean.ndim)
        kl = self._log_density(noise[0], log_diagonal) - prior.log_prob(drawn.flatten(1))
        z = drawn.to(mean.dtype) if self.training else self._back(mean, mean.ndim)
        return z, reduce(kl, self.reduction)

    def _log_density(self, noise: Tensor, log_diagonal: Tensor) -> Tensor:
        """log q of mean + L·noise, summed over all positions: `[B, ..., D]` → `[B]`."""
        half = log_variance(log_diagonal.to(noise.dtype), "logstd", self.clamp)[1]
        return -0.5 * (noise.square() + half + math.log(2 * math.pi)).flatten(-half.ndim + 1).sum(-1)

    def _noise(self, mean: Tensor, samples: int, generator: torch.Generator | None) -> Tensor:
        dtype = torch.promote_types(mean.dtype, torch.float32)
        return mean.new_empty((samples, *mean.shape), dtype=dtype).normal_(generator=generator)

    def _sample(self, mean: Tensor, log_diagonal: Tensor, below: Tensor, noise: Tensor) -> Tensor:
        """mean [B, ..., D] and noise [S, B, ..., D] → z [S, B, ..., D]."""
        sigma, _ = log_variance(log_diagonal.to(noise.dtype), "logstd", self.clamp)
        with torch.autocast(mean.device.type, enabled=False):  # which would round the product's operands
            mixed = (strictly_lower(below.to(noise.dtype), mean.shape[-1]) @ noise.movedim(0, -1)).movedim(-1, 0)
        return (mean + sigma * noise + mixed).to(mean.dtype)

    def mean(self, encoded: Tensor) -> Tensor:
        return self._back(self._parts(encoded)[0], encoded.ndim)

    def kl(self, encoded: Tensor, prior: Prior | None = None) -> Tensor | None:
        kl = self._kl(*self._parts(encoded), prior)
        return None if kl is None else reduce(kl, "latent")

    def draw(self, encoded: Tensor, samples: int, *, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        wide, parts = wide_dtype(encoded), self._parts(encoded)
        mean, log_diagonal, below = (part.to(wide) for part in parts)
        z = self._sample(mean, log_diagonal, below, self._noise(mean, samples, generator)).to(encoded.dtype)
        sigma, _ = log_variance(log_diagonal, "logstd", self.clamp)
        cholesky = strictly_lower(below, mean.shape[-1]) + torch.diag_embed(sigma)
        centred = (z.to(wide) - mean).movedim(0, -1)
        noise = torch.linalg.solve_triangular(cholesky, centred, upper=False).movedim(-1, 0)
        return self._back(z, mean.ndim), self._log_density(noise, log_diagonal)

    def default_prior(self, dim: int) -> Prior:
        return StandardPrior(dim)

    def _back(self, z: Tensor, ndim: int) -> Tensor:
        """The latent's axis from the end to its place; z may have one of samples before its `ndim` axes."""
        return z.movedim(-1, self.dim % ndim + z.ndim - ndim)

    def _parts(self, x: Tensor, cholesky: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        return split(x, cholesky, self.dim)

    def options(self) -> dict[str, Any]:
        return {"clamp": None if self.clamp is None else list(self.clamp), "free_bits": self.free_bits}

    def extra_repr(self) -> str:
        parts = [f"dim={self.dim}", f"reduction={self.reduction!r}"]
        parts += [f"clamp={self.clamp}"] if self.clamp is not None else []
        parts += [f"samples={self.samples}"] if self.samples is not None else []
        return ", ".join(parts + ([f"free_bits={self.free_bits}"] if self.free_bits else []))
