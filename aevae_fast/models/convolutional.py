"""Convolutional bodies for image autoencoders: a strided residual encoder and its mirror image."""

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """`x + conv1x1(relu(conv3x3(relu(x))))`, the block of the VQ-VAE paper (van den Oord et al., 2017).

    Args:
        channels: channels of input and output.
        hidden: channels between the two convolutions.

    Shape: `[B, channels, H, W]` to the same.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, hidden, 3, padding=1)
        self.conv2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


def stage_widths(channels: int, stages: int) -> list[int]:
    """Channels after each halving of the image: half of `channels` at the finest, where pixels are many."""
    return [max(1, channels // 2) if stage == 0 and stages > 1 else channels for stage in range(stages)]


class ConvolutionalEncoder(nn.Sequential):
    """Strided 4x4 convolutions, each halving the image, then residual blocks at the coarse resolution.

    Args:
        in_channels: channels of the image.
        channels: width of the body.
        latent_dim: channels of the output.
        stages: number of halvings, at least 0; the image sides must be divisible by `2**stages`.
        residual_blocks: number of residual blocks, at least 0.

    Shape: `[B, in_channels, H, W]` to `[B, latent_dim, H / 2**stages, W / 2**stages]`.
    """

    def __init__(self, in_channels: int, channels: int, latent_dim: int, stages: int, residual_blocks: int) -> None:
        layers: list[nn.Module] = []
        width = in_channels
        for out in stage_widths(channels, stages):
            layers += [nn.Conv2d(width, out, 4, stride=2, padding=1), nn.ReLU()]
            width = out
        layers.append(nn.Conv2d(width, channels, 3, padding=1))
        layers += [ResidualBlock(channels, max(1, channels // 2)) for _ in range(residual_blocks)]
        layers += [nn.ReLU(), nn.Conv2d(channels, latent_dim, 1)]
        super().__init__(*layers)


class ConvolutionalDecoder(nn.Sequential):
    """The mirror image of `ConvolutionalEncoder`: residual blocks, then 4x4 transposed convolutions.

    Args:
        out_channels: channels of the image.
        channels: width of the body.
        latent_dim: channels of the input.
        stages: number of doublings, at least 0.
        residual_blocks: number of residual blocks, at least 0.

    Shape: `[B, latent_dim, h, w]` to `[B, out_channels, h * 2**stages, w * 2**stages]`.
    """

    def __init__(self, out_channels: int, channels: int, latent_dim: int, stages: int, residual_blocks: int) -> None:
        layers: list[nn.Module] = [nn.Conv2d(latent_dim, channels, 3, padding=1)]
        layers += [ResidualBlock(channels, max(1, channels // 2)) for _ in range(residual_blocks)]
        layers.append(nn.ReLU())
        width = channels
        for out in [*reversed(stage_widths(channels, stages)[:-1]), out_channels][:stages]:
            layers += [nn.ConvTranspose2d(width, out, 4, stride=2, padding=1), nn.ReLU()]
            width = out
        if stages:
            layers.pop()  # no activation after the image itself
        else:
            layers.append(nn.Conv2d(channels, out_channels, 1))
        super().__init__(*layers)
