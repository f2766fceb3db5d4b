"""What every image autoencoder with a continuous latent can do."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from aevae_fast.losses import LIKELIHOODS, Likelihood, make_likelihood
from aevae_fast.quantizers.loading import LoadsWhole

from .checks import check_image_batch, check_image_size, check_modules, check_positive, check_whole, check_widths
from .interpolation import interpolate_latents, traverse_latents
from .modes import evaluation_mode
from .networks import build_network


class NetworkOptions(TypedDict, total=False):
    """The keyword arguments of `ImageAutoencoder`."""

    latent_dim: int
    likelihood: str | Likelihood
    likelihood_options: Mapping[str, Any] | None
    body: str
    hidden: Sequence[int]
    channels: int
    downsampling_factor: int
    residual_blocks: int
    encoder: nn.Module | None
    decoder: nn.Module | None
    latent_shape: Sequence[int] | None


class ImageAutoencoder(LoadsWhole):
    """An encoder, a decoder, a likelihood p(x | latent), and what one does with them. The base of `Autoencoder` and
    `VAE`, which say what the latent is.

    Args:
        in_channels: channels C of the image (1 grey, 3 colour).
        image_size: height and width, or one number for both.
        encoder_width: numbers that the encoder yields along axis 1 for a latent of D along it, as a function of D.
        latent_dim: width of the latent, `[B, latent_dim]`, under the built-in encoder.
        likelihood: name ("bernoulli", "gaussian", "discretized_logistic", …) or module of `aevae_fast.losses`.
        likelihood_options: arguments of a likelihood given by name.
        body: "convolutional" or "mlp".
        hidden: widths of the mlp's hidden layers, the image's side first.
        channels: width of the convolutions.
        downsampling_factor: image side over the side of the coarsest map; a power of two.
        residual_blocks: residual blocks in the convolutional encoder and as many in the decoder.
        encoder: own module, `[B, C, H, W]` to `[B, encoder_width(D), ...]`; the latent is `[B, D, ...]`, a map too.
        decoder: own module, the latent to `[B, C * likelihood.outputs_per_channel, H, W]`.
        latent_shape: of one latent of an own encoder, and both parts are taken on trust; None asks them, by one image
            of zeros.

    With own encoder and decoder, images of another size than `image_size` are theirs to take.

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
    """

    def __init__(
        self,
        in_channels: int,
        image_size: int | Sequence[int],
        *,
        encoder_width: Callable[[int], int],
        latent_dim: int = 16,
        likelihood: str | Likelihood = "bernoulli",
        likelihood_options: Mapping[str, Any] | None = None,
        body: str = "convolutional",
        hidden: Sequence[int] = (400,),
        channels: int = 64,
        downsampling_factor: int = 4,
        residual_blocks: int = 2,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        latent_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_whole(in_channels=in_channels, latent_dim=latent_dim)
        check_positive(in_channels=in_channels, latent_dim=latent_dim)
        check_widths(hidden=hidden, **({} if latent_shape is None else {"latent_shape": latent_shape}))
        self.in_channels, self.image_size = in_channels, check_image_size(image_size)
        self.likelihood = make_likelihood(likelihood, **(likelihood_options or {}))
        name = getattr(self.likelihood, "name", type(self.likelihood).__name__)
        own_likelihood = None if LIKELIHOODS.get(name) is type(self.likelihood) else self.likelihood
        check_modules(encoder=encoder, decoder=decoder)
        own = {"encoder": encoder, "decoder": decoder, "likelihood": own_likelihood}
        self.own_parts = [part for part, module in own.items() if module is not None]
        body_options: dict[str, Any] = {
            "hidden": list(hidden),
            "channels": channels,
            "downsampling_factor": downsampling_factor,
            "residual_blocks": residual_blocks,
        }
        self.config: dict[str, Any] = {
            "in_channels": in_channels,
            "image_size": list(self.image_size),
            "latent_dim": latent_dim,
            "likelihood": name,
            "likelihood_options": self.likelihood.options(),
            "body": body,
            **body_options,
        }
        self.encoder, self.decoder, self.latent_shape, self._any_size = build_network(
            (in_channels, *self.image_size),
            in_channels * self.likelihood.outputs_per_channel,
            encoder_width,
            latent_dim=latent_dim,
            body=body,
            body_options=body_options,
            encoder=encoder,
            decoder=decoder,
            latent_shape=latent_shape,
        )

    @abstractmethod
    def _mean(self, encoded: Tensor) -> Tensor:
        """The latent that stands for an image, from what the encoder yields."""

    @abstractmethod
    def _draw(self, count: int, generator: torch.Generator | None) -> Tensor:
        """`[count, *latent_shape]` latents to generate from."""

    @abstractmethod
    def _range(self) -> tuple[Tensor, Tensor]:
        """The ends of a traversal for each element of the latent; they broadcast to `latent_shape`."""

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """The latents `[B, *latent_shape]` of images `x [B, C, H, W]`: the posterior's mean where there is a posterior.

        Raises:
            TypeError: `x` is not floating point.
            ValueError: wrong dimensions, channels or image size.
        """
        self._check(x)
        with evaluation_mode(self):
            return self._mean(self.encoder(x))

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """Images `[B, C, H, W]` in [0, 1], the likelihood's mean, from latents `[B, *latent_shape]`.

        Raises:
            TypeError: `latent` is not floating point.
            ValueError: another shape.
        """
        self._check_latent(latent)
        with evaluation_mode(self):
            weight = next(self.decoder.parameters(), latent)
            return self.likelihood.mean(self.decoder(latent.to(weight.dtype)))

    def reconstruct(self, x: Tensor) -> Tensor:
        """`decode(encode(x))`: images `[B, C, H, W]` in [0, 1], without gradient."""
        return self.decode(self.encode(x))

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` new images `[n, C, H, W]` in [0, 1]; `generator` must be on the model's device.

        Raises:
            TypeError, ValueError: `n` is not a whole number, 0 or more.
            NotTrainedError: an `Autoencoder` that has seen no training images, whose latents' range is not known.
        """
        check_whole(n=n)
        if n < 0:
            raise ValueError(f"n: expected 0 or more, got {n}")
        return self.decode(self._draw(n, generator))

    def interpolate(self, a: Tensor, b: Tensor, steps: int = 8, mode: str = "linear") -> Tensor:
        """Images on the way from `a` to `b`, `[steps, B, C, H, W]`, by `interpolate_latents` of their latents.

        Args:
            a, b: images `[B, C, H, W]`.
            steps: at least 2; the first decodes the latent of `a`, the last that of `b`.
            mode: "linear" or "slerp".

        Raises:
            TypeError, ValueError: images that do not fit, `steps` below 2, or an unknown mode.
        """
        latents = interpolate_latents(self.encode(a), self.encode(b), steps, mode)
        return self.decode(latents.flatten(0, 1)).unflatten(0, (steps, -1))

    def traverse(
        self,
        x: Tensor,
        dims: Sequence[int] | None = None,
        *,
        steps: int = 8,
        low: float | None = None,
        high: float | None = None,
    ) -> Tensor:
        """Images as one element of the latent goes from `low` to `high` and the others stay as `x` has them.

        Args:
            x: images `[B, C, H, W]`.
            dims: which elements, counted in the flattened latent; None takes all.
            steps: values each element takes, at least 2.
            low, high: the ends; None takes -3 and 3 of a `VAE` (of another prior the same share of its draws), the
                training latents' range of an `Autoencoder`.

        Returns:
            `[len(dims), steps, B, C, H, W]`; decoded an element at a time.

        Raises:
            TypeError, ValueError: images that do not fit, `steps` below 2, or an element that is not there.
            NotTrainedError: `low` or `high` left out of an `Autoencoder` that has seen no training images.
        """
        latent = self.encode(x)
        start = self._range()[0] if low is None else torch.tensor(float(low), device=latent.device)
        end = self._range()[1] if high is None else torch.tensor(float(high), device=latent.device)
        pictures = [
            self.decode(moved.flatten(0, 1)).unflatten(0, (steps, -1))
            for moved in traverse_latents(latent, start, end, steps, dims)
        ]
        return torch.stack(pictures) if pictures else x.new_empty(0, steps, *x.shape)

    @property
    def _device(self) -> torch.device:
        return next(chain(self.parameters(), self.buffers())).device

    def _check(self, x: Tensor) -> None:
        check_image_batch(x, self.in_channels)
        if not self._any_size and tuple(x.shape[2:]) != self.image_size:
            height, width = self.image_size
            raise ValueError(f"x: expected images of image_size {height}x{width}, got {x.shape[2]}x{x.shape[3]}")

    def _check_latent(self, latent: Tensor) -> None:
        if not isinstance(latent, Tensor) or not latent.is_floating_point():
            got = latent.dtype if isinstance(latent, Tensor) else type(latent).__name__
            raise TypeError(f"latent: expected a floating point tensor, got {got}")
        known = slice(1, 2) if self._any_size else slice(1, None)
        expected = (0, *self.latent_shape)
        if latent.ndim != len(expected) or tuple(latent.shape[known]) != expected[known]:
            raise ValueError(
                f"latent: expected [B, {', '.join(map(str, self.latent_shape))}], got {list(latent.shape)}"
            )

    def extra_repr(self) -> str:
        image = "x".join(map(str, (self.in_channels, *self.image_size)))
        return f"image={image}, latent={'x'.join(map(str, self.latent_shape))}"
