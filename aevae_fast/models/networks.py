"""The encoder and decoder of an image autoencoder: built by name, or the user's own and asked what they yield."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from .bodies import BODIES
from .modes import evaluation_mode


class Network(NamedTuple):
    """What stands on both sides of the latent.

    Attributes:
        encoder: `[B, C, H, W]` to `[B, encoder_width(D), ...]`.
        decoder: `[B, D, ...]` to `[B, out_channels, H, W]`.
        latent_shape: (D, ...).
        any_size: whether both are own modules, which may take images of another size.
    """

    encoder: nn.Module
    decoder: nn.Module
    latent_shape: tuple[int, ...]
    any_size: bool


def build_network(
    image_shape: tuple[int, int, int],
    out_channels: int,
    encoder_width: Callable[[int], int],
    *,
    latent_dim: int,
    body: str,
    body_options: Mapping[str, Any],
    encoder: nn.Module | None,
    decoder: nn.Module | None,
    latent_shape: Sequence[int] | None,
) -> Network:
    """Build what is not given, and see that what is given fits; see `ImageAutoencoder` for the arguments.

    Raises:
        TypeError, ValueError: an argument that does not fit, named.
    """
    if body not in BODIES:
        raise ValueError(f"body: expected one of {', '.join(BODIES)}, got {body!r}")
    if encoder is None and latent_shape is not None:
        raise ValueError(f"latent_shape: expected None without an own encoder (latent_dim), got {latent_shape}")
    channels, *size = image_shape
    any_size = encoder is not None and decoder is not None
    built = None if any_size else BODIES[body](channels, (size[0], size[1]), **body_options)
    if encoder is None:
        assert built is not None
        shape: tuple[int, ...] = (latent_dim,)
        first = built.encoder(encoder_width(latent_dim))
    else:
        first = encoder
        shape = _latent_shape(encoder, image_shape, encoder_width) if latent_shape is None else tuple(latent_shape)
    if decoder is None:
        assert built is not None
        return Network(first, built.decoder(math.prod(shape), out_channels), shape, False)
    if latent_shape is None:
        _check_decoder(decoder, shape, (out_channels, *size))
    return Network(first, decoder, shape, any_size)


def _latent_shape(
    encoder: nn.Module, image_shape: tuple[int, ...], encoder_width: Callable[[int], int]
) -> tuple[int, ...]:
    shape, dim = _shape_after(encoder, image_shape), 1
    if len(shape) > 1:
        while encoder_width(dim) < shape[1]:
            dim += 1
    if len(shape) < 2 or shape[0] != 1 or encoder_width(dim) != shape[1]:
        raise ValueError(f"encoder: expected {_expected(encoder_width)} from one image, got {list(shape)}")
    return dim, *shape[2:]


def _expected(encoder_width: Callable[[int], int]) -> str:
    """The shapes that an encoder may yield, in words."""
    first, second, third = map(encoder_width, (1, 2, 3))
    if second != 2 * first:
        return f"[1, W, ...], W one of {first}, {second}, {third}, ...,"
    return f"[1, {first} * D, ...]" if first > 1 else "[1, D, ...]"


def _check_decoder(decoder: nn.Module, latent_shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    shape = _shape_after(decoder, latent_shape)
    if shape != (1, *expected):
        raise ValueError(
            f"decoder: expected {[1, *expected]} (in_channels times the likelihood's outputs_per_channel, image_size) "
            f"from one latent {[1, *latent_shape]}, got {list(shape)}"
        )


@torch.no_grad()
def _shape_after(part: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of what `part` makes of one input of zeros."""
    weight = next(part.parameters(), torch.zeros(()))
    with evaluation_mode(part):
        return tuple(part(torch.zeros(1, *shape, dtype=weight.dtype, device=weight.device)).shape)
