"""Autoencoder, plain or noisy, for images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from .checks import check_not_negative
from .image_autoencoder import ImageAutoencoder, NetworkOptions
from .latent_statistics import LatentStatistics

if TYPE_CHECKING:
    from typing_extensions import Unpack


class AutoencoderOutput(NamedTuple):
    """What `Autoencoder.forward` returns.

    Attributes:
        reconstruction: `[B, C, H, W]` in [0, 1], the likelihood's mean.
        latent: what was decoded, `[B, *latent_shape]`; in training with the noise.
        loss: scalar to minimise, `reconstruction_loss`.
        reconstruction_loss: scalar, mean over the batch of -log p(x | latent), nats an image.
    """

    reconstruction: Tensor
    latent: Tensor
    loss: Tensor
    reconstruction_loss: Tensor


class NotTrainedError(RuntimeError):
    """What only training tells was asked of a model before it."""


class Autoencoder(ImageAutoencoder):
    """An image autoencoder with a deterministic latent, and with `noise` the noisy one.

    In training the noisy autoencoder decodes z + N(0, noise · R²), one draw for each element of the latent: `noise` is
    a variance, in units of R², where R is the root mean square distance of the training latents from their centre. The
    noise follows the latents' scale, in the gradient too, so that the encoder has nothing from larger latents.

    The training latents' centre, R and range are remembered in `statistics`; `sample` draws latents uniformly from that
    range, and has nothing to draw from before training: `NotTrainedError`.

    Args:
        in_channels: channels C of the image (1 grey, 3 colour).
        image_size: height and width, or one number for both.
        noise: variance of the noise over R², 0 or more; 0 is the plain autoencoder.
        network: latent_dim, likelihood, body, own encoder and decoder: `ImageAutoencoder` lists them.

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
    """

    def __init__(
        self,
        in_channels: int = 1,
        image_size: int | Sequence[int] = 28,
        *,
        noise: float = 0.0,
        **network: "Unpack[NetworkOptions]",
    ) -> None:
        check_not_negative(noise=noise)
        super().__init__(in_channels, image_size, encoder_width=lambda dim: dim, **network)
        self.noise = noise
        self.config["noise"] = noise
        self.statistics = LatentStatistics(self.latent_shape)

    def forward(self, x: Tensor) -> AutoencoderOutput:
        """Encode, in training add noise, decode, and weigh the result.

        Args:
            x: images `[B, C, H, W]`, floating point.

        Raises:
            TypeError: `x` is not floating point.
            ValueError: wrong dimensions, channels or image size, or values that the likelihood does not take.
        """
        self._check(x)
        latent = self.encoder(x)
        if self.training:
            self.statistics.update(latent.detach())
            if self.noise:
                latent = latent + self._noise_like(latent)
        decoded = self.decoder(latent)
        log_likelihood = self.likelihood.log_prob(decoded, x)
        loss = -log_likelihood.sum() / max(len(x), 1)
        return AutoencoderOutput(self.likelihood.mean(decoded), latent, loss, loss)

    def _noise_like(self, latent: Tensor) -> Tensor:
        scale = (self.noise * self.statistics.radius_squared).sqrt() * self._growth(latent)
        return (scale * torch.randn_like(latent, dtype=scale.dtype)).to(latent.dtype)

    def _growth(self, latent: Tensor) -> Tensor:
        """1, with the gradient of R over R by the batch. Without it larger latents would seem to drown the noise, and R
        would grow without end."""
        rows = (latent - self.statistics.center).flatten(1)  # float32 of a half-precision latent
        square = torch.where(rows.isfinite(), rows, 0).square().sum()
        given = square.detach()
        return (1 + (square - given) / given.clamp(min=torch.finfo(given.dtype).tiny)).sqrt()

    def _mean(self, encoded: Tensor) -> Tensor:
        return encoded

    def _draw(self, count: int, generator: torch.Generator | None) -> Tensor:
        low, high = self._range()
        uniform = torch.rand(count, *self.latent_shape, generator=generator, device=low.device)
        return torch.lerp(low, high, uniform)

    def _range(self) -> tuple[Tensor, Tensor]:
        if not self.statistics.weight:
            raise NotTrainedError("the range of the training latents is not known before the model is trained")
        return self.statistics.low, self.statistics.high

    def extra_repr(self) -> str:
        return super().extra_repr() + (f", noise={self.noise}" if self.noise else "")
