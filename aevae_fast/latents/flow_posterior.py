"""`FlowLatent`: a Gaussian bent by invertible maps."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..reference.gaussian_kl import log_variance
from ._checks import check_count
from ._numbers import result_dtype
from .densities import gaussian_log_prob, wide_dtype
from .flows.flow import Flow
from .flows.registry import FLOWS, make_flow
from .latent import Latent
from .priors.prior import Prior
from .priors.standard import StandardPrior


class FlowLatent(Latent):
    """z = f(z₀), z₀ ~ N(mean, σ²) and f a chain of flows; Rezende & Mohamed 2015 (arXiv:1505.05770), section 4:

        log q(z | x) = log N(z₀; mean, σ²) - log |det ∂z/∂z₀|,    KL ≈ log q(z | x) - log p(z) of one sample

    in training of the z that is returned, in `eval()` of one drawn for it; a KL of one sample may be negative. In
    `eval()` z is f(mean). The flows' parameters are the layer's own: the same for every x.

    Args:
        size: numbers of the flattened latent; None: what a model `bind`s the layer to.
        flow: a name that `make_flow` knows ("planar", "radial", "coupling", ...).
        clamp: (lo, hi) within which ln σ² is taken; None for no bounds.
        flow_options: of `make_flow`, as length, the number of planar or radial flows.

    Shapes:
        encoded: `[B, 2·D, ...]`, mean before ln σ² along axis 1.
        Returns z `[B, D, ...]`, encoded's dtype, and the KL `[B]` in nats, float32 (float64 for float64).

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
        ImportError: the flow needs a package that is not installed.
    """

    name = "flow"

    def __init__(
        self,
        size: int | None = None,
        *,
        flow: str = "planar",
        clamp: Sequence[float] | None = (-30.0, 20.0),
        **flow_options: Any,
    ) -> None:
        super().__init__()
        if flow not in FLOWS:
            raise ValueError(f"flow must be one of {', '.join(map(repr, FLOWS))}; got {flow!r}")
        self.clamp = None if clamp is None else (float(clamp[0]), float(clamp[1]))
        self.flow_name, self.flow_options = flow, flow_options
        self.flow: Flow | None = None
        if size is not None:
            self.bind((check_count("size", size),))

    def encoder_width(self, dim: int) -> int:
        return 2 * dim

    def bind(self, latent_shape: Sequence[int]) -> None:
        size = prod(latent_shape)
        if self.flow is None:
            self.flow = make_flow(self.flow_name, size, **self.flow_options)
        elif self.flow.dim != size:
            raise ValueError(f"latent must have size={size}, that of the model's latent; got size={self.flow.dim}")

    def forward(
        self, encoded: Tensor, /, *, prior: Prior | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        mean, logvar = self._gaussian(encoded, result_dtype)
        z, log_q = self._sample(mean, logvar, generator)
        flat = z.flatten(1)
        log_p = gaussian_log_prob(flat) if prior is None else prior.log_prob(flat)
        return z.to(encoded.dtype) if self.training else self.mean(encoded), log_q - log_p

    def mean(self, encoded: Tensor) -> Tensor:
        """f(mean): where the flows take the Gaussian's mean."""
        mean, _ = self._gaussian(encoded, result_dtype)
        return self._bent(mean)[0].to(encoded.dtype)

    def draw(self, encoded: Tensor, samples: int, *, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """As of `Latent`, but log q is that of z before it was rounded to encoded's dtype: the inverse of a flow may
        have no formula."""
        mean, logvar = (t.expand(samples, *t.shape).flatten(0, 1) for t in self._gaussian(encoded, wide_dtype))
        z, log_q = self._sample(mean, logvar, generator)
        shape = (samples, len(encoded))
        return z.to(encoded.dtype).unflatten(0, shape), log_q.unflatten(0, shape)

    def default_prior(self, dim: int) -> Prior:
        return StandardPrior(dim)

    def options(self) -> dict[str, Any]:
        size = {} if self.flow is None else {"size": self.flow.dim}
        clamp = None if self.clamp is None else list(self.clamp)
        return {**size, "flow": self.flow_name, "clamp": clamp, **self.flow_options}

    def _sample(self, mean: Tensor, logvar: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """z `[B, D, ...]` and log q(z) `[B]`."""
        noise = torch.empty_like(mean).normal_(generator=generator)
        z, log_det = self._bent(mean + torch.exp(logvar / 2) * noise)
        log_gaussian = gaussian_log_prob(noise.flatten(1)) - logvar.flatten(1).sum(1) / 2
        return z, log_gaussian - log_det

    def _bent(self, z: Tensor) -> tuple[Tensor, Tensor]:
        if self.flow is None:
            raise ValueError("size must be given to a layer outside a model; got None")
        if z[0:1].numel() not in (0, self.flow.dim):
            raise ValueError(
                f"encoded must hold {2 * self.flow.dim} numbers a row; got shape {tuple(z.shape)} of means"
            )
        y, log_det = self.flow(z.flatten(1))
        return y.view(z.shape), log_det

    def _gaussian(self, encoded: Tensor, dtype: Callable[[Tensor], torch.dtype]) -> tuple[Tensor, Tensor]:
        """Mean and ln σ², `[B, D, ...]` each; what is not finite stays so under a clamp."""
        if not isinstance(encoded, Tensor) or not encoded.is_floating_point():
            got = encoded.dtype if isinstance(encoded, Tensor) else type(encoded).__name__
            raise TypeError(f"encoded must be a floating-point tensor; got {got}")
        if encoded.ndim < 2 or encoded.shape[1] % 2:
            raise ValueError(f"encoded must have shape [B, 2·D, ...]; got {tuple(encoded.shape)}")
        mean, logvar = encoded.to(dtype(encoded)).chunk(2, 1)
        return mean.contiguous(), log_variance(logvar, "logvar", self.clamp)[1]
