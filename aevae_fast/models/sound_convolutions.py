"""Convolutional bodies for sound: a strided residual encoder and its mirror image."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualUnit(nn.Module):
    """`x + conv1(elu(conv3(elu(x))))`, the wide convolution dilated, as in SoundStream (Zeghidour et al. 2021).

    Shape: `[B, channels, T]` to the same.
    """

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation)
        self.conv2 = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.elu(self.conv1(F.elu(x))))


def _units(channels: int, count: int) -> list[nn.Module]:
    return [ResidualUnit(channels, 3 ** (number % 3)) for number in range(count)]


class SoundEncoder(nn.Sequential):
    """Strided convolutions, twice as wide after each but the first, with residual units between them.

    Args:
        channels: width after the first convolution.
        latent_dim: channels of the output.
        strides: even; samples a frame are their product.
        residual_units: at the coarsest rate; one after each other convolution.

    Shape: `[B, 1, T]` to `[B, latent_dim, T / prod(strides)]`.
    """

    def __init__(self, channels: int, latent_dim: int, strides: Sequence[int], residual_units: int) -> None:
        layers: list[nn.Module] = []
        width, out = 1, channels
        for stage, stride in enumerate(strides):
            units = residual_units if stage == len(strides) - 1 else 1
            layers += [nn.Conv1d(width, out, 2 * stride, stride=stride, padding=stride // 2), *_units(out, units)]
            layers.append(nn.ELU())
            width, out = out, 2 * out
        super().__init__(*layers, nn.Conv1d(width, latent_dim, 3, padding=1))


class SoundDecoder(nn.Sequential):
    """The mirror image of `SoundEncoder`: `[B, latent_dim, frames]` to `[B, 1, frames · prod(strides)]`."""

    def __init__(self, channels: int, latent_dim: int, strides: Sequence[int], residual_units: int) -> None:
        width = channels * 2 ** (len(strides) - 1)
        layers: list[nn.Module] = [nn.Conv1d(latent_dim, width, 3, padding=1)]
        for stage, stride in reversed(list(enumerate(strides))):
            units = residual_units if stage == len(strides) - 1 else 1
            out = width // 2 if stage else 1
            layers += [*_units(width, units), nn.ELU()]
            layers.append(nn.ConvTranspose1d(width, out, 2 * stride, stride=stride, padding=stride // 2))
            width = out
        super().__init__(*layers)
