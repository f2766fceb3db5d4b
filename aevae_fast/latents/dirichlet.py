"""`DirichletLatent`: a bottleneck on the simplex."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from ._beta_density import dirichlet_log_density
from ._dirichlet_divergence import dirichlet_divergence
from ._dirichlet_variate import dirichlet_logits
from ._numbers import CONCENTRATIONS
from .bounded import BoundedLatent
from .priors.dirichlet import DirichletPrior
from .priors.prior import Prior


class DirichletLatent(BoundedLatent):
    """z ~ Dirichlet(α) by implicit reparameterization (Figurnov et al. 2018, arXiv:1805.08498): D shares that sum to 1
    along axis 1, at each position of a map; and the KL, in closed form against a `DirichletPrior` of the same layout:

        ln Γ(α₀) - Σ ln Γ(α_k) - ln Γ(β₀) + Σ ln Γ(β_k) + Σ (α_k - β_k)·(ψ(α_k) - ψ(α₀))

    The default prior is uniform, β = 1. In training z is a sample, Gamma variates over their sum, taken as logarithms,
    in `eval()` the mean α/α₀. Gradients are those of PyTorch's Dirichlet, good to about 1e-3, and are taken once:
    second derivatives of z are 0. α is softplus of the encoder's output within clamp. Densities are with respect to all
    coordinates but one.

    Args:
        clamp: (lo, hi) within which each α is taken.

    Shapes:
        encoded: `[B, D, ...]`, D at least 2.
        Returns z `[B, D, ...]`, encoded's dtype, and the KL `[B]` in nats, float32 (float64 for float64).

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
    """

    name = "dirichlet"
    support = "simplex"
    parameters_per_dim = 1

    def __init__(self, *, clamp: Sequence[float] = CONCENTRATIONS) -> None:
        super().__init__(clamp=clamp)
        self.size: int | None = None

    def bind(self, latent_shape: Sequence[int]) -> None:
        if latent_shape[0] < 2:
            raise ValueError(f"latent_shape must begin with 2 shares or more; got {tuple(latent_shape)}")
        self.size = latent_shape[0]

    def default_prior(self, dim: int) -> Prior:
        """Uniform over the simplex of dim shares, or over one of D shares at each position of a model's map."""
        return DirichletPrior(dim, size=self.size)

    def _concentrations(self, encoded: Tensor) -> tuple[Tensor, ...]:
        parameters = super()._concentrations(encoded)
        if encoded.shape[1] < 2:
            raise ValueError(f"encoded must have shape [B, D, ...] with D at least 2; got {tuple(encoded.shape)}")
        return parameters

    def _variate(self, parameters: tuple[Tensor, ...], generator: torch.Generator | None) -> Tensor:
        (alpha,) = parameters
        return torch.softmax(dirichlet_logits(alpha, 1, generator), 1)

    def _log_density(self, z: Tensor, parameters: tuple[Tensor, ...]) -> Tensor:
        return dirichlet_log_density(z, parameters[0], 1).reshape(len(z), -1).sum(1)

    def _exact_mean(self, parameters: tuple[Tensor, ...]) -> Tensor:
        return parameters[0] / parameters[0].sum(1, keepdim=True)

    def _closed_kl(self, parameters: tuple[Tensor, ...], prior: Prior | None) -> Tensor | None:
        alpha = parameters[0].flatten(2) if parameters[0].ndim > 2 else parameters[0][..., None]
        beta = torch.ones_like(alpha)
        if prior is not None:
            if not isinstance(prior, DirichletPrior) or (prior.size, prior.dim) != (
                alpha.shape[1],
                prod(alpha.shape[1:]),
            ):
                return None
            beta = prior.concentration.to(alpha.dtype).expand_as(alpha)
        return dirichlet_divergence(alpha.mT, beta.mT).sum(1)
