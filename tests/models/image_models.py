"""Small models for the tests, and what one compares about them."""

from typing import Any

import torch
from torch import Tensor, nn

from aevae_fast.models import VAE, Autoencoder

SIDE = 8
SMALL: dict[str, Any] = {"latent_dim": 3, "channels": 4, "residual_blocks": 1}
KINDS = {"autoencoder": Autoencoder, "vae": VAE}


def small(kind: type[Any], in_channels: int = 1, image_size: Any = SIDE, **options: Any) -> Any:
    torch.manual_seed(0)
    return kind(in_channels, image_size, **SMALL | options)


def trained(kind: type[Any], **options: Any) -> Any:
    """A small model after one step in training mode, so that it has latents to remember."""
    model = small(kind, **options)
    model(images(16, model.in_channels, *model.image_size)).loss.backward()
    return model


def images(count: int = 4, channels: int = 1, height: int = SIDE, width: int = SIDE, seed: int = 1) -> Tensor:
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(seed))


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same_state(model: nn.Module, before: dict[str, Tensor]) -> bool:
    after = model.state_dict()
    return after.keys() == before.keys() and all(torch.equal(after[name], value) for name, value in before.items())


class SpatialEncoder(nn.Sequential):
    """As a latent diffusion model's first stage has it: a map of `blocks · channels`, and batch norm, which a look at
    the shape must leave alone."""

    def __init__(self, in_channels: int, channels: int, blocks: int) -> None:
        super().__init__(nn.BatchNorm2d(in_channels), nn.Conv2d(in_channels, blocks * channels, 4, stride=4))
