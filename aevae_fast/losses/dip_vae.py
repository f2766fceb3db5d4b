"""`DIPVAEObjective`: latents whose covariance over the data is the identity."""

from typing import Any, Literal

import torch
from torch import Tensor

from .objective import Objective, Terms, batch_mean, moments_of
from .objectives import elbo
from .weights import Weight, make_weight, plain_weight, weight_at


class DIPVAEObjective(Objective):
    """-ELBO + λ_od·Σ_{i≠j} C_ij² + λ_d·Σ_i (C_ii - 1)² (Kumar et al. 2018, arXiv:1711.00848), C over the batch.

    "i": C is the covariance of the means of q(z | x); "ii": that of z, which adds the mean of q's variances. Both are
    divided by B, and of each rank's own batch.

    Args:
        kind: "i" or "ii".
        lambda_od: weight of the covariances, 0 or more: a number, a schedule, or what `make_schedule` takes.
        lambda_d: weight of the variances; None: ten times lambda_od for "i", lambda_od itself for "ii".

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
    """

    name = "dip_vae"
    needs_moments = True

    def __init__(
        self, kind: Literal["i", "ii"] = "i", lambda_od: Weight = 10.0, lambda_d: Weight | None = None
    ) -> None:
        super().__init__()
        if kind not in ("i", "ii"):
            raise ValueError(f"kind must be 'i' or 'ii'; got {kind!r}")
        self.kind = kind
        self.lambda_od = make_weight("lambda_od", lambda_od)
        self.lambda_d = None if lambda_d is None else make_weight("lambda_d", lambda_d)

    def options(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "lambda_od": plain_weight(self.lambda_od),
            "lambda_d": plain_weight(self.lambda_d),
        }

    def _loss(self, terms: Terms) -> Tensor:
        mean, logvar = moments_of(terms)
        covariances, variances = dip_penalties(mean, logvar if self.kind == "ii" else None)
        off_diagonal = weight_at(self.lambda_od, terms.step)
        if self.lambda_d is not None:
            diagonal = weight_at(self.lambda_d, terms.step)
        else:
            diagonal = off_diagonal * (10 if self.kind == "i" else 1)
        bound = batch_mean(elbo(terms.log_likelihood, terms.kl))
        return off_diagonal * covariances + diagonal * variances - bound


def dip_penalties(mean: Tensor, logvar: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Σ_{i≠j} C_ij² and Σ_i (C_ii - 1)², 0-d, float32 (float64 for float64).

    C is the covariance of means `[B, D]` over the batch, divided by B; with logvar, `[B, D]`, the mean of exp(logvar)
    is added to its diagonal.
    """
    dtype = torch.promote_types(mean.dtype, torch.float32)
    mean = mean.to(dtype)
    count = max(len(mean), 1)
    centred = mean - mean.sum(0) / count
    with torch.autocast(mean.device.type, enabled=False):  # which would round the product's operands
        covariance = centred.T @ centred / count
    variance = covariance.diagonal()
    covariances = (covariance - torch.diag(variance)).square().sum()
    if logvar is not None:
        variance = variance + torch.exp(logvar.to(dtype)).sum(0) / count
    return covariances, (variance - 1).square().sum()
