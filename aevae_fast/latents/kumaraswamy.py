"""`KumaraswamyLatent`: a bottleneck on the unit cube whose samples are a formula."""

import torch
from torch import Tensor

from ._kumaraswamy_divergence import kumaraswamy_divergence
from ._kumaraswamy_map import kumaraswamy_log_density, kumaraswamy_mean, kumaraswamy_variate
from .bounded import BoundedLatent
from .priors.beta import BetaPrior
from .priors.prior import Prior


class KumaraswamyLatent(BoundedLatent):
    """z = (1 - (1 - u)^(1/b))^(1/a), u uniform: Kumaraswamy's distribution on (0, 1)ᴰ, close to Beta(a, b) and with
    exact gradients of any order; and KL(Kumaraswamy(a, b) ‖ prior).

    Against a `BetaPrior` the KL is that of Nalisnick & Smyth 2017 (arXiv:1605.06197): in closed form where the prior's
    β is 1, as the default, uniform one's, and with one mean by quadrature where it is not, good to 2e-7 · (1 + it).
    In the latter case it has first derivatives only; to differentiate again is an error.
    Under any other prior it is the Monte-Carlo estimate of one sample. In training z is a sample, in `eval()` the mean
    b·B(1 + 1/a, b). a and b are softplus of the encoder's output within clamp.

    Args:
        clamp: (lo, hi) within which a and b are taken.

    Shapes:
        encoded: `[B, 2·D, ...]`, the a's before the b's along axis 1.
        Returns z `[B, D, ...]`, encoded's dtype, and the KL `[B]` in nats, float32 (float64 for float64).

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
    """

    name = "kumaraswamy"
    support = "unit"

    def default_prior(self, dim: int) -> Prior:
        return BetaPrior(dim)

    def _variate(self, parameters: tuple[Tensor, ...], generator: torch.Generator | None) -> Tensor:
        exponential = torch.empty_like(parameters[0]).exponential_(generator=generator)
        return (-kumaraswamy_variate(exponential, *parameters).exp()).exp()

    def _log_density(self, z: Tensor, parameters: tuple[Tensor, ...]) -> Tensor:
        return kumaraswamy_log_density(z, *parameters).flatten(1).sum(1)

    def _exact_mean(self, parameters: tuple[Tensor, ...]) -> Tensor:
        return kumaraswamy_mean(*parameters)

    def _closed_kl(self, parameters: tuple[Tensor, ...], prior: Prior | None) -> Tensor | None:
        a, b = parameters
        if prior is None:
            return kumaraswamy_divergence(a, b, torch.ones_like(a), None).flatten(1).sum(1)
        if not isinstance(prior, BetaPrior):
            return None
        alpha, beta = prior.concentrations(a)
        return kumaraswamy_divergence(a, b, alpha, None if prior.beta_is_one else beta).flatten(1).sum(1)
