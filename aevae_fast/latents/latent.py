"""`Latent`: what a model asks of a continuous bottleneck."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .densities import wide_dtype
from .priors.prior import Prior

__all__ = ["Latent", "wide_dtype"]


class Latent(nn.Module, ABC):
    """A posterior q(z | x), given what an encoder made of x.

    The encoder yields `encoded [B, encoder_width(D), ...]`, the latent is `[B, D, ...]`: the posterior's parameters lie
    along axis 1, for each position of a map on its own. Densities are of the whole latent: those of z flattened.

    Attributes:
        name: by which `make_latent` knows the class.
        support: where z lies, "real" (ℝᴰ), "unit" ((0, 1)ᴰ) or "simplex"; that of a `Prior` must be the same.
    """

    name: ClassVar[str]
    support: ClassVar[str] = "real"

    @classmethod
    def for_model(cls, **options: Any) -> "Latent":
        """The layer as a model takes it, from the options that `options()` gives."""
        return cls(**options)

    @abstractmethod
    def encoder_width(self, dim: int) -> int:
        """Numbers that the encoder must yield along axis 1 for a latent of size `dim` along it."""

    def bind(self, latent_shape: Sequence[int]) -> None:
        """Told once by the model, when the shape of one latent is known; parameters that depend on it are made here.

        Raises:
            ValueError: the layer does not fit a model, or was made for another shape.
        """

    @abstractmethod
    def forward(
        self, encoded: Tensor, /, *, prior: Prior | None = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """z `[B, D, ...]` and KL(q(z | x) ‖ prior) `[B]` in nats, with gradient.

        In training z is a sample by reparameterization, in `eval()` the posterior's `mean`. The KL is in closed form
        where there is one; else log q(z | x) - log p(z) of one sample, in `eval()` of a sample drawn for it.

        Args:
            prior: over the flattened latent; None: `default_prior`.
            generator: on encoded's device; torch's own where absent.
        """

    @abstractmethod
    def mean(self, encoded: Tensor) -> Tensor:
        """The z that stands for an image, `[B, D, ...]`."""

    @abstractmethod
    def draw(self, encoded: Tensor, samples: int, *, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """`samples` of z for each image, `[S, B, D, ...]` in encoded's dtype, and log q(z | x) `[S, B]` in nats, of the
        very z that came out of the rounding; both with gradient (by reparameterization).

        log q is float64, float32 on devices that have none: `wide_dtype`.
        """

    @abstractmethod
    def default_prior(self, dim: int) -> Prior:
        """p(z) of a flattened latent of `dim` numbers where the user names none."""

    def kl(self, encoded: Tensor, prior: Prior | None = None) -> Tensor | None:
        """KL(q(z | x) ‖ prior) `[B]` in nats in closed form, without free bits; None where there is no such form."""
        return None

    def moments(self, encoded: Tensor) -> tuple[Tensor, Tensor] | None:
        """Mean and log-variance `[B, D, ...]` of a diagonal Gaussian, with gradient; None of any other posterior."""
        return None

    def options(self) -> dict[str, Any]:
        """Plain values with which `make_latent(name, **options)` builds this layer again."""
        return {}

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.options().items())
