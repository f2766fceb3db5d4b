"""`BetaTCVAEObjective`: the KL's total correlation, weighed on its own."""

from typing import Any

from torch import Tensor

from .objective import Objective, Terms, batch_mean, moments_of
from .total_correlation import Compat, Sampling, check_sampling, total_correlation_terms
from .weights import Weight, make_weight, plain_weight, weight_at


class BetaTCVAEObjective(Objective):
    """-log p(x | z) + α·MI + β·TC + γ·dimension-wise KL (Chen et al. 2018, arXiv:1802.04942), by one sample z an image.

    With α = β = γ = 1 it is minus the ELBO. `total_correlation_terms` says what the parts are and how a batch
    estimates them; ranks estimate them from their own batches.

    Args:
        dataset_size: N, the images that are trained on; a batch has at least 2, or none, and at most N.
        alpha, beta, gamma: weights, 0 or more: numbers, schedules, or what `make_schedule` takes.
        sampling: "weighted", as in the paper's experiments, or "stratified".
        compat: None, or whose wrong stratified weights to repeat: "reference" or "ports".

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
    """

    name = "beta_tcvae"
    needs_moments = True
    needs_standard_normal = True

    def __init__(
        self,
        dataset_size: int,
        alpha: Weight = 1.0,
        beta: Weight = 6.0,
        gamma: Weight = 1.0,
        sampling: Sampling = "weighted",
        compat: Compat | None = None,
    ) -> None:
        super().__init__()
        check_sampling(dataset_size, sampling, compat)
        self.dataset_size, self.sampling, self.compat = dataset_size, sampling, compat
        self.alpha = make_weight("alpha", alpha)
        self.beta = make_weight("beta", beta)
        self.gamma = make_weight("gamma", gamma)

    def options(self) -> dict[str, Any]:
        return {
            "dataset_size": self.dataset_size,
            "alpha": plain_weight(self.alpha),
            "beta": plain_weight(self.beta),
            "gamma": plain_weight(self.gamma),
            "sampling": self.sampling,
            "compat": self.compat,
        }

    def _loss(self, terms: Terms) -> Tensor:
        parts = total_correlation_terms(
            terms.z, *moments_of(terms), self.dataset_size, sampling=self.sampling, compat=self.compat
        )
        weights = (weight_at(weight, terms.step) for weight in (self.alpha, self.beta, self.gamma))
        return sum(
            (weight * part for weight, part in zip(weights, parts, strict=True)), -batch_mean(terms.log_likelihood)
        )
