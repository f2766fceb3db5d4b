"""`Objective`: what a VAE minimises in training, from the terms that its forward pass gives."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from .objectives import elbo


class Terms(NamedTuple):
    """What one forward pass of a VAE knows of a batch; the latent is flattened, D numbers an image.

    Attributes:
        log_likelihood: log p(x | z), `[B]`, nats.
        kl: KL(q(z | x) ‖ p(z)), `[B]`, nats.
        z: `[B, D]`, a sample of q(z | x) in training, its mean in eval.
        mean, logvar: of a Gaussian q(z | x) with a diagonal covariance, `[B, D]`; None where it is another one.
        step: of training, 0-d int64.
    """

    log_likelihood: Tensor
    kl: Tensor
    z: Tensor
    mean: Tensor | None
    logvar: Tensor | None
    step: Tensor


class Objective(nn.Module, ABC):
    """A loss on `Terms`: 0-d, nats an image, the mean over the batch; 0 of an empty one.

    In `eval()` it is minus the ELBO, whatever is trained on: z is no sample then, and statistics over it would mean
    nothing.

    Attributes:
        name: by which `make_objective` knows the class.
        needs_moments: whether q(z | x) must be Gaussian with a diagonal covariance: mean and logvar are not None.
        needs_standard_normal: whether the formula holds for the prior N(0, I) only.
    """

    name: ClassVar[str]
    needs_moments: ClassVar[bool] = False
    needs_standard_normal: ClassVar[bool] = False

    def forward(self, terms: Terms) -> Tensor:
        """
        Raises:
            ValueError: a shape does not fit, the batch is too small, or moments that the formula needs are missing.
        """
        bound = elbo(terms.log_likelihood, terms.kl)
        if self.needs_moments:
            moments_of(terms)
        shape = (len(bound), *terms.z.shape[1:])
        for name, tensor in {"z": terms.z, "mean": terms.mean, "logvar": terms.logvar}.items():
            if tensor is not None and (tensor.ndim != 2 or tuple(tensor.shape) != shape):
                raise ValueError(
                    f"{name} must have shape [{len(bound)}, D], a flattened latent for each log_likelihood; "
                    f"got {tuple(tensor.shape)}"
                )
        return self._loss(terms) if self.training and len(bound) else -batch_mean(bound)

    def options(self) -> dict[str, Any]:
        """Plain values with which `make_objective(name, **options)` builds this objective again."""
        return {}

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.options().items())

    @abstractmethod
    def _loss(self, terms: Terms) -> Tensor:
        """The loss in training."""


def batch_mean(values: Tensor) -> Tensor:
    """The mean of `[B]`; 0 of an empty batch."""
    return values.sum() / max(len(values), 1)


def moments_of(terms: Terms) -> tuple[Tensor, Tensor]:
    """Mean and log-variance of q(z | x).

    Raises:
        ValueError: it has none.
    """
    if terms.mean is None or terms.logvar is None:
        raise ValueError("terms must have mean and logvar: q(z | x) a Gaussian with a diagonal covariance; got None")
    return terms.mean, terms.logvar
