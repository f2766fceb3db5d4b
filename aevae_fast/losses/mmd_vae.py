"""`InfoVAEObjective` and `WAEObjective`: the latents of a batch, held to the prior together by their MMD from it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .mmd import Kernel, check_kernel, maximum_mean_discrepancy
from .objective import Objective, Terms, batch_mean
from .weights import Weight, make_weight, plain_weight, weight_at


class WAEObjective(Objective):
    """-log p(x | z) + λ·MMD²(q(z), N(0, I)) (Tolstikhin et al. 2018, arXiv:1711.01558): no KL, so that q(z | x) may be
    as narrow as it likes.

    Under `GaussianLikelihood` -log p(x | z) is the paper's squared error over 2σ², and a constant: λ counts beside
    that. The estimate is `maximum_mean_discrepancy` of the batch's z from as many draws of N(0, I); ranks make their
    own. Memory grows with B², not with B²·D.

    Args:
        lambda_mmd: λ, 0 or more: a number, a schedule, or what `make_schedule` takes. MMD² is at most 2 for one scale,
            so λ must be of the order of -log p(x | z) in nats; far above, q(z | x) becomes the prior.
        kernel: "imq" or "rbf".
        bandwidth, scales: of the kernel, as for `maximum_mean_discrepancy`.

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
    """

    name = "wae"
    needs_standard_normal = True

    def __init__(
        self,
        lambda_mmd: Weight = 100.0,
        kernel: Kernel = "imq",
        bandwidth: float | None = None,
        scales: Sequence[float] = (1.0,),
    ) -> None:
        super().__init__()
        check_kernel(kernel, bandwidth, scales)
        self.lambda_mmd = make_weight("lambda_mmd", lambda_mmd)
        self.kernel, self.bandwidth, self.scales = kernel, bandwidth, list(scales)

    def options(self) -> dict[str, Any]:
        return {
            "lambda_mmd": plain_weight(self.lambda_mmd),
            "kernel": self.kernel,
            "bandwidth": self.bandwidth,
            "scales": list(self.scales),
        }

    def _loss(self, terms: Terms) -> Tensor:
        return weight_at(self.lambda_mmd, terms.step) * self._mmd(terms) - batch_mean(terms.log_likelihood)

    def _mmd(self, terms: Terms) -> Tensor:
        """MMD² of z from N(0, I)."""
        drawn = torch.randn_like(terms.z)
        return maximum_mean_discrepancy(
            terms.z, drawn, kernel=self.kernel, bandwidth=self.bandwidth, scales=self.scales
        )


class InfoVAEObjective(WAEObjective):
    """-log p(x | z) + (1 - α)·KL + (α + λ - 1)·MMD²(q(z), N(0, I)) (Zhao et al. 2017, arXiv:1706.02262).

    α is the weight of the mutual information of x and z that is preferred to the ELBO's: at 0 with λ = 1 it is minus
    the ELBO, at 1 nothing but the MMD holds the latents.

    Args:
        alpha: at most 1; below 0 it punishes mutual information.
        lambda_mmd: λ, such that α + λ - 1 is 0 or more.
        kernel, bandwidth, scales: as for `WAEObjective`.

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
    """

    name = "info_vae"

    def __init__(
        self,
        alpha: float = 0.5,
        lambda_mmd: float = 100.0,
        kernel: Kernel = "rbf",
        bandwidth: float | None = None,
        scales: Sequence[float] = (1.0,),
    ) -> None:
        for name, value in {"alpha": alpha, "lambda_mmd": lambda_mmd}.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} must be a number; got {type(value).__name__}")
        if not alpha <= 1 or not 0 <= alpha + lambda_mmd - 1 < float("inf"):
            raise ValueError(
                f"alpha must be at most 1, and alpha + lambda_mmd - 1 at least 0 and finite; got alpha {alpha}, "
                f"lambda_mmd {lambda_mmd}"
            )
        super().__init__(lambda_mmd, kernel, bandwidth, scales)
        self.alpha, self.lambda_mmd = float(alpha), float(lambda_mmd)

    def options(self) -> dict[str, Any]:
        return {"alpha": self.alpha, **super().options()}

    def _loss(self, terms: Terms) -> Tensor:
        assert isinstance(self.lambda_mmd, float)
        weight = self.alpha + self.lambda_mmd - 1
        return batch_mean((1 - self.alpha) * terms.kl - terms.log_likelihood) + weight * self._mmd(terms)
