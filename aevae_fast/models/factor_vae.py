"""FactorVAE for images (Kim & Mnih, 2018, arXiv:1802.05983)."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from aevae_fast.losses.weights import Weight, make_weight, plain_weight, weight_at

from .checks import check_widths
from .discriminator import Discriminator, permute_dims
from .vae import VAE


class FactorVAEOutput(NamedTuple):
    """What `FactorVAE.forward` returns: the fields of `VAEOutput`, and two scalars of the discriminator's.

    Attributes:
        reconstruction, latent, reconstruction_loss, kl: as of `VAEOutput`.
        loss: scalar to minimise, both networks' losses in one.
        total_correlation: scalar, the discriminator's estimate of KL(q(z) ‖ Π_d q(z_d)), nats; NaN in `eval()`.
        discriminator_loss: scalar, its cross-entropy, nats, log 2 where it tells nothing; NaN in `eval()`.
    """

    reconstruction: Tensor
    latent: Tensor
    loss: Tensor
    reconstruction_loss: Tensor
    kl: Tensor
    total_correlation: Tensor
    discriminator_loss: Tensor


class FactorVAE(VAE):
    """A VAE that also pays γ times the total correlation of its latent, as a discriminator sees it.

    The discriminator learns to tell z ~ q(z) from z with each dimension shuffled over the batch; its log-odds estimate
    log q(z) - Σ_d log q(z_d), whose mean is the total correlation. The VAE is trained on the whole batch; the
    discriminator sees one half of it as it is and the other half shuffled.

    One loss and one optimizer train both: within `loss` the VAE's part takes the discriminator's weights as constants,
    and the discriminator's part takes z as a constant, so that each parameter gets the gradient of its own loss alone.
    Adam scales every parameter by itself, so one is as good as two of the same settings; for other ones give it two
    groups, `model.discriminator.parameters()` and the rest. Clipping the norm of all gradients would couple the two.

    In `eval()` the loss is that of `VAE`.

    Args:
        in_channels, image_size: as of `VAE`.
        gamma: γ, 0 or more: a number, a schedule of `aevae_fast.losses`, or what `make_schedule` takes.
        discriminator_hidden: widths of the discriminator's hidden layers.
        options: of `VAE`.

    Raises:
        TypeError, ValueError: an argument that does not fit, named; in training also a batch below 4.
    """

    def __init__(
        self,
        in_channels: int = 1,
        image_size: int | Sequence[int] = 28,
        *,
        gamma: Weight = 10.0,
        discriminator_hidden: Sequence[int] = (1000,) * 6,
        **options: Any,
    ) -> None:
        check_widths(discriminator_hidden=discriminator_hidden)
        super().__init__(in_channels, image_size, **options)
        self.gamma = make_weight("gamma", gamma)
        self.discriminator = Discriminator(math.prod(self.latent_shape), discriminator_hidden)
        self.config |= {"gamma": plain_weight(self.gamma), "discriminator_hidden": list(discriminator_hidden)}

    def forward(self, x: Tensor) -> FactorVAEOutput:  # type: ignore[override]
        """As `VAE.forward`, and in training the discriminator's two terms."""
        if self.training and len(x) < 4:
            raise ValueError(f"x: expected a batch of at least 4, of which two are shuffled, got {len(x)}")
        output = super().forward(x)
        if not self.training:
            unknown = torch.full_like(output.loss, math.nan)
            return FactorVAEOutput(*output, unknown, unknown)
        z = output.latent.flatten(1)
        total_correlation = self.discriminator(z, frozen=True).mean()
        discriminator_loss = self._discriminator_loss(z.detach())
        loss = output.loss + weight_at(self.gamma, self.step) * total_correlation + discriminator_loss
        return FactorVAEOutput(*output, total_correlation, discriminator_loss)._replace(loss=loss)

    def _discriminator_loss(self, z: Tensor) -> Tensor:
        """The cross-entropy of saying which half of z was shuffled: the second."""
        half = len(z) // 2
        odds = self.discriminator(torch.cat([z[:half], permute_dims(z[half:])]))
        return (F.softplus(-odds[:half]).mean() + F.softplus(odds[half:]).mean()) / 2
