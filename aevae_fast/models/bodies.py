"""Encoders and decoders between an image and a flat latent, by name."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from .checks import check_image_size, check_not_negative, check_positive, check_stages, check_whole
from .convolutional import ConvolutionalDecoder, ConvolutionalEncoder


class ConvolutionalBody:
    """A strided residual encoder, flattened into one linear layer, and the mirror image.

    Args:
        in_channels: channels C of the image.
        image_size: its height and width, divisible by `downsampling_factor`.
        channels: width of encoder and decoder.
        downsampling_factor: image side over the side of the coarsest map; a power of two.
        residual_blocks: residual blocks in the encoder and as many in the decoder.
        hidden: of no use here.

    Raises:
        TypeError, ValueError: an argument out of range, or an image size that the factor does not divide.
    """

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, int],
        *,
        channels: int,
        downsampling_factor: int,
        residual_blocks: int,
        hidden: Sequence[int],
    ) -> None:
        check_whole(channels=channels, downsampling_factor=downsampling_factor, residual_blocks=residual_blocks)
        check_positive(channels=channels)
        check_not_negative(residual_blocks=residual_blocks)
        self.stages = check_stages(downsampling_factor)
        height, width = check_image_size(image_size, downsampling_factor)
        self.in_channels, self.channels, self.residual_blocks = in_channels, channels, residual_blocks
        self.coarse = (channels, height // downsampling_factor, width // downsampling_factor)

    def encoder(self, features: int) -> nn.Module:
        """`[B, C, H, W]` to `[B, features]`."""
        convolutions = ConvolutionalEncoder(
            self.in_channels, self.channels, self.channels, self.stages, self.residual_blocks
        )
        return nn.Sequential(convolutions, nn.ReLU(), nn.Flatten(), nn.Linear(math.prod(self.coarse), features))

    def decoder(self, features: int, out_channels: int) -> nn.Module:
        """`[B, ...]`, `features` values each, to `[B, out_channels, H, W]`."""
        convolutions = ConvolutionalDecoder(
            out_channels, self.channels, self.channels, self.stages, self.residual_blocks
        )
        spread = nn.Linear(features, math.prod(self.coarse))
        return nn.Sequential(nn.Flatten(), spread, nn.ReLU(), nn.Unflatten(1, self.coarse), convolutions)


class MLPBody:
    """Fully connected layers with ReLU between them, and the mirror image; any image size.

    Args:
        in_channels: channels C of the image.
        image_size: its height and width.
        hidden: widths of the encoder's hidden layers, the image's side first; none makes both sides linear.
        channels, downsampling_factor, residual_blocks: of no use here.
    """

    def __init__(
        self,
        in_channels: int,
        image_size: tuple[int, int],
        *,
        hidden: Sequence[int],
        channels: int,
        downsampling_factor: int,
        residual_blocks: int,
    ) -> None:
        self.in_channels, self.image_size, self.hidden = in_channels, image_size, tuple(hidden)

    def encoder(self, features: int) -> nn.Module:
        """`[B, C, H, W]` to `[B, features]`."""
        values = self.in_channels * math.prod(self.image_size)
        return nn.Sequential(nn.Flatten(), *_layers(values, *self.hidden, features))

    def decoder(self, features: int, out_channels: int) -> nn.Module:
        """`[B, ...]`, `features` values each, to `[B, out_channels, H, W]`."""
        image = (out_channels, *self.image_size)
        layers = _layers(features, *reversed(self.hidden), math.prod(image))
        return nn.Sequential(nn.Flatten(), *layers, nn.Unflatten(1, image))


def _layers(*widths: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width, following in pairwise(widths):
        layers += [nn.Linear(width, following), nn.ReLU()]
    return layers[:-1]


BODIES: dict[str, type[ConvolutionalBody] | type[MLPBody]] = {"convolutional": ConvolutionalBody, "mlp": MLPBody}
