"""`BetaLatent`: a bottleneck on the unit cube."""

import torch
from torch import Tensor

from ._beta_density import beta_log_density
from ._dirichlet_divergence import beta_divergence
from ._dirichlet_variate import dirichlet_logits
from .bounded import BoundedLatent
from .priors.beta import BetaPrior
from .priors.prior import Prior


class BetaLatent(BoundedLatent):
    """z ~ Beta(α, β) in (0, 1)ᴰ by implicit reparameterization (Figurnov et al. 2018, arXiv:1805.08498), and
    KL(Beta(α, β) ‖ prior), in closed form against any `BetaPrior`; the default one is uniform, Beta(1, 1).

    In training z is a sample, G_α/(G_α + G_β) of two Gamma variates taken as logarithms, in `eval()` the mean
    α/(α + β). Gradients are those of PyTorch's Beta, good to about 1e-3, and are taken once: second derivatives of z
    are 0. α and β are softplus of the encoder's output within clamp.

    Args:
        clamp: (lo, hi) within which α and β are taken.

    Shapes:
        encoded: `[B, 2·D, ...]`, the α's before the β's along axis 1.
        Returns z `[B, D, ...]`, encoded's dtype, and the KL `[B]` in nats, float32 (float64 for float64).

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
    """

    name = "beta"
    support = "unit"

    def default_prior(self, dim: int) -> Prior:
        return BetaPrior(dim)

    def _variate(self, parameters: tuple[Tensor, ...], generator: torch.Generator | None) -> Tensor:
        first, second = dirichlet_logits(torch.stack(parameters), 0, generator)
        return torch.sigmoid(first - second)

    def _log_density(self, z: Tensor, parameters: tuple[Tensor, ...]) -> Tensor:
        return beta_log_density(z, *parameters).flatten(1).sum(1)

    def _exact_mean(self, parameters: tuple[Tensor, ...]) -> Tensor:
        return parameters[0] / (parameters[0] + parameters[1])

    def _closed_kl(self, parameters: tuple[Tensor, ...], prior: Prior | None) -> Tensor | None:
        if prior is None:
            other = tuple(torch.ones_like(t) for t in parameters)
        elif isinstance(prior, BetaPrior):
            other = tuple(t.expand_as(parameters[0]) for t in prior.concentrations(parameters[0]))
        else:
            return None
        return beta_divergence(*parameters, *other).flatten(1).sum(1)
