"""`Prior`: what every p(z) shares."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .._checks import check_dim
from ..densities import gaussian_log_prob


class Prior(nn.Module, ABC):
    """p(z) of a latent of `dim` numbers, flattened: a density to weigh z by and a source to draw from.

    Subclasses give `_log_prob(z)`, `_sample(n, generator)` and, where there are any, `options()`.

    Args:
        dim: D, the size of the flattened latent.

    Attributes:
        name: by which `make_prior` knows the class.
        support: where it has its mass, "real" (ℝᴰ), "unit" ((0, 1)ᴰ) or "simplex": a posterior's must be the same.

    Raises:
        TypeError, ValueError: dim is not a positive whole number.
    """

    name: ClassVar[str]
    support: ClassVar[str] = "real"
    _like: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = check_dim(dim)
        self._like = torch.empty(0)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Prior":
        """`_like` follows the device and the dtype; a buffer would be one more broadcast of DDP at each step."""
        self._like = fn(self._like)
        return super()._apply(fn, recurse)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) in nats: `[N, D]` → `[N]`, float32 (float64 for float64), with gradient.

        Raises:
            TypeError: z is not a floating-point tensor.
            ValueError: z is not `[N, dim]`.
        """
        return self._log_prob(self._checked("z", z))

    def forward(self, z: Tensor) -> Tensor:
        return self.log_prob(z)

    @torch.no_grad()
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw z `[n, D]`, float32 (float64 of a float64 prior), without gradient; generator on the prior's device,
        torch's own where absent.

        Raises:
            TypeError, ValueError: n is not a whole number, 0 or more.
        """
        if isinstance(n, bool) or not isinstance(n, int):
            raise TypeError(f"n must be an int; got {type(n).__name__}")
        if n < 0:
            raise ValueError(f"n must be at least 0; got {n}")
        return self._sample(n, generator)

    def kl(self, mean: Tensor, logvar: Tensor, z: Tensor) -> Tensor:
        """KL(N(mean, σ²) ‖ p) in nats, all `[B, D]` → `[B]`: closed form where there is one, which takes no notice of
        z; else the one-sample Monte-Carlo estimate log q(z) - log p(z), z a sample of q by reparameterization.

        Raises:
            TypeError, ValueError: a tensor that is not floating point or not `[B, dim]`, named.
        """
        mean, logvar = self._checked("mean", mean), self._checked("logvar", logvar)
        return self._kl(mean, logvar, self._checked("z", z))

    def bind(self, posterior: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
        """Told once by the model how images `[N, C, H, W]` become mean and log-variance `[N, D]` of q(z | x), where
        that is a diagonal Gaussian; a prior that is made of it keeps it, and does not register its parameters."""

    def settled(self) -> Callable[[Tensor], Tensor]:
        """`log_prob` for many calls in a row, what does not depend on z computed once: the parameters must not change
        meanwhile."""
        return self.log_prob

    def options(self) -> dict[str, Any]:
        """Plain values with which `make_prior(name, dim, **options)` builds this prior again."""
        return {}

    def extra_repr(self) -> str:
        return ", ".join([f"dim={self.dim}", *(f"{name}={value!r}" for name, value in self.options().items())])

    @abstractmethod
    def _log_prob(self, z: Tensor) -> Tensor:
        """Of z [N, D], float32 or float64."""

    @abstractmethod
    def _sample(self, n: int, generator: torch.Generator | None) -> Tensor: ...

    def _kl(self, mean: Tensor, logvar: Tensor, z: Tensor) -> Tensor:
        return gaussian_log_prob(z, mean, logvar) - self._log_prob(z)

    def _checked(self, name: str, tensor: Tensor) -> Tensor:
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            got = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"{name} must be a floating-point tensor; got {got}")
        if tensor.ndim != 2 or tensor.shape[1] != self.dim:
            raise ValueError(f"{name} must have shape [N, {self.dim}] (dim={self.dim}); got {tuple(tensor.shape)}")
        return tensor.to(torch.promote_types(tensor.dtype, torch.float32))

    def _normal(self, n: int, generator: torch.Generator | None) -> Tensor:
        dtype = torch.promote_types(self._like.dtype, torch.float32)
        return torch.randn(n, self.dim, dtype=dtype, device=self._like.device, generator=generator)
