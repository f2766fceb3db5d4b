"""`FullCovarianceGaussianLatent`: a Gaussian bottleneck whose dimensions may be correlated."""

import torch
from torch import Tensor, nn

from .. import functional
from ..functional._latents import check_options
from ..reference.gaussian_kl import log_variance, reduce


class FullCovarianceGaussianLatent(nn.Module):
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
        generator: on x's device; torch's default one where absent, which `torch.compile` needs.
        Returns z (x's dtype; `[B, ..., D, ...]`, or with samples in front) and kl (nats, float32, float64 for float64:
        z's shape without dim, `[B]` or 0-d).

    Raises:
        ValueError, TypeError: an argument that does not fit, named.
    """

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
        if dim == 0:
            raise ValueError("dim must not be the batch, axis 0; got 0")
        self.dim, self.clamp, self.reduction = dim, clamp, reduction
        self.samples, self.free_bits = samples, free_bits

    def forward(
        self, x: Tensor, cholesky: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        mean, log_diagonal, below = self._parts(x, cholesky)
        kl = self._kl(mean, log_diagonal, below)
        if self.training:
            z = self._sample(mean, log_diagonal, below, generator)
        else:
            z = mean if self.samples is None else mean.expand(self.samples, *mean.shape)
        axis = self.dim % x.ndim
        return z.movedim(-1, axis if self.samples is None else axis + 1), kl

    def _kl(self, mean: Tensor, log_diagonal: Tensor, below: Tensor) -> Tensor:
        """That of the diagonal Gaussian, and half the square of each entry below the diagonal."""
        kl = functional.gaussian_kl(
            mean, log_diagonal, parameterization="logstd", clamp=self.clamp, reduction="none"
        ).sum(-1)
        kl = kl + below.to(kl.dtype).square().sum(-1) / 2
        return reduce(kl.clamp(min=self.free_bits) if self.free_bits else kl, self.reduction)

    def _sample(self, mean: Tensor, log_diagonal: Tensor, below: Tensor, generator: torch.Generator | None) -> Tensor:
        """mean [B, ..., D] → z, with samples in front where they are given."""
        dtype, size = torch.promote_types(mean.dtype, torch.float32), mean.shape[-1]
        shape = (1 if self.samples is None else self.samples, *mean.shape)
        eps = mean.new_empty(shape, dtype=dtype).normal_(generator=generator)
        row, column = torch.tril_indices(size, size, -1, device=mean.device)
        lower = below.new_zeros(*mean.shape[:-1], size * size, dtype=dtype)
        lower = lower.index_copy(-1, row * size + column, below.to(dtype)).unflatten(-1, (size, size))
        sigma, _ = log_variance(log_diagonal.to(dtype), "logstd", self.clamp)
        with torch.autocast(mean.device.type, enabled=False):  # which would round the product's operands
            mixed = (lower @ eps.movedim(0, -1)).movedim(-1, 0)
        z = (mean + sigma * eps + mixed).to(mean.dtype)
        return z[0] if self.samples is None else z

    def _parts(self, x: Tensor, cholesky: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Mean `[B, ..., D]`, logarithms of the diagonal, and the entries below it `[B, ..., D·(D - 1)/2]`."""
        self._check(x, cholesky)
        x = x.movedim(self.dim, -1)
        if cholesky is None:
            size = dimension(x.shape[-1])
            mean, log_diagonal, below = x.split([size, size, size * (size - 1) // 2], -1)
            return mean, log_diagonal, below
        log_diagonal, below = cholesky.movedim(self.dim, -1).tensor_split([x.shape[-1]], -1)
        return x, log_diagonal, below

    def _check(self, x: Tensor, cholesky: Tensor | None) -> None:
        if not isinstance(x, Tensor):
            raise TypeError(f"x must be a torch.Tensor; got {type(x).__name__}")
        if not -x.ndim <= self.dim < x.ndim or self.dim % x.ndim == 0:
            raise ValueError(f"x must have an axis {self.dim} beside the batch, axis 0; got shape {tuple(x.shape)}")
        size = x.shape[self.dim]
        if cholesky is None:
            if dimension(size) * (dimension(size) + 3) != 2 * size:
                raise ValueError(
                    f"x must hold D + D·(D + 1)/2 numbers along dim {self.dim} (2, 5, 9, 14, ...); "
                    f"got shape {tuple(x.shape)}"
                )
            return
        if not isinstance(cholesky, Tensor):
            raise TypeError(f"cholesky must be a torch.Tensor; got {type(cholesky).__name__}")
        axis = self.dim % x.ndim
        shape = (*x.shape[:axis], size * (size + 1) // 2, *x.shape[axis + 1 :])
        if tuple(cholesky.shape) != shape:
            raise ValueError(
                f"cholesky must have shape {shape}, D·(D + 1)/2 for D = {size}; got {tuple(cholesky.shape)}"
            )
        if cholesky.dtype != x.dtype:
            raise TypeError(f"cholesky must have x's dtype, {x.dtype}; got {cholesky.dtype}")
        if cholesky.device != x.device:
            raise ValueError(f"cholesky must be on x's device, {x.device}; got {cholesky.device}")

    def extra_repr(self) -> str:
        parts = [f"dim={self.dim}", f"reduction={self.reduction!r}"]
        parts += [f"clamp={self.clamp}"] if self.clamp is not None else []
        parts += [f"samples={self.samples}"] if self.samples is not None else []
        return ", ".join(parts + ([f"free_bits={self.free_bits}"] if self.free_bits else []))


def dimension(size: int) -> int:
    """The largest D with D + D·(D + 1)/2 <= size; counted, since tracing knows sizes that are symbols, but no roots."""
    found = 0
    while (found + 1) * (found + 4) <= 2 * size:
        found += 1
    return found
