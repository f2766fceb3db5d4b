"""What the Beta, Dirichlet and Kumaraswamy bottlenecks share."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ._numbers import CONCENTRATIONS, check_concentrations, concentrations, inside, result_dtype
from .densities import wide_dtype
from .latent import Latent
from .priors.prior import Prior


class BoundedLatent(Latent):
    """A posterior over a bounded z, given by concentrations: softplus of the encoder's output, within `clamp`.

    All is computed in float64, float32 where a device has none; z is brought strictly inside (0, 1), between the
    smallest normal number of its dtype and the last one below 1.

    Args:
        clamp: (lo, hi) within which a concentration is taken; the gradient is that of softplus at both ends, 0 beyond.

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
    """

    parameters_per_dim = 2

    def __init__(self, *, clamp: Sequence[float] = CONCENTRATIONS) -> None:
        super().__init__()
        self.clamp = check_concentrations("clamp", clamp)

    def encoder_width(self, dim: int) -> int:
        return self.parameters_per_dim * dim

    def forward(
        self, encoded: Tensor, /, *, prior: Prior | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        parameters = self._concentrations(encoded)
        kl = self._closed_kl(parameters, prior)
        if kl is None or self.training:
            variate = self._variate(parameters, generator)
        if kl is None:
            assert prior is not None
            kl = self._estimated_kl(inside(variate, variate.dtype), parameters, prior)
        z = variate if self.training else self._exact_mean(parameters)
        return inside(z, encoded.dtype), kl.to(result_dtype(encoded))

    def _estimated_kl(self, z: Tensor, parameters: tuple[Tensor, ...], prior: Prior) -> Tensor:
        """log q(z | x) - log p(z), of z before it is rounded to the encoder's dtype."""
        if prior.support != self.support:
            raise ValueError(
                f"prior must have the support {self.support!r}; {type(prior).__name__} has {prior.support!r}"
            )
        return self._log_density(z, parameters) - prior.log_prob(z.flatten(1))

    def kl(self, encoded: Tensor, prior: Prior | None = None) -> Tensor | None:
        kl = self._closed_kl(self._concentrations(encoded), prior)
        return None if kl is None else kl.to(result_dtype(encoded))

    def mean(self, encoded: Tensor) -> Tensor:
        return inside(self._exact_mean(self._concentrations(encoded)), encoded.dtype)

    def draw(self, encoded: Tensor, samples: int, *, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        shape = (samples, len(encoded))
        parameters = tuple(t.expand(samples, *t.shape).flatten(0, 1) for t in self._concentrations(encoded))
        z = inside(self._variate(parameters, generator), encoded.dtype)
        log_density = self._log_density(z.to(wide_dtype(z)), parameters)
        return z.unflatten(0, shape), log_density.unflatten(0, shape)

    def options(self) -> dict[str, Any]:
        return {"clamp": list(self.clamp)}

    def _concentrations(self, encoded: Tensor) -> tuple[Tensor, ...]:
        """`parameters_per_dim` tensors `[B, D, ...]`, in the widest dtype."""
        if not isinstance(encoded, Tensor) or not encoded.is_floating_point():
            got = encoded.dtype if isinstance(encoded, Tensor) else type(encoded).__name__
            raise TypeError(f"encoded must be a floating-point tensor; got {got}")
        count = self.parameters_per_dim
        if encoded.ndim < 2 or encoded.shape[1] % count:
            raise ValueError(f"encoded must have shape [B, {count}·D, ...]; got {tuple(encoded.shape)}")
        return concentrations(encoded, self.clamp).chunk(count, 1)

    @abstractmethod
    def _exact_mean(self, parameters: tuple[Tensor, ...]) -> Tensor:
        """`[B, D, ...]`."""

    @abstractmethod
    def _variate(self, parameters: tuple[Tensor, ...], generator: torch.Generator | None) -> Tensor:
        """One z for each entry of the parameters, in [0, 1], by reparameterization."""

    @abstractmethod
    def _log_density(self, z: Tensor, parameters: tuple[Tensor, ...]) -> Tensor:
        """log q(z | x) `[B]` of z `[B, D, ...]` in the widest dtype."""

    @abstractmethod
    def _closed_kl(self, parameters: tuple[Tensor, ...], prior: Prior | None) -> Tensor | None:
        """`[B]`; None where there is no closed form. A prior of None is the default one."""
