"""The discriminator of FactorVAE, and the latents that it tells from real ones."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_SLOPE = 0.2  # of the leaky ReLU


class Discriminator(nn.Module):
    """An MLP with leaky ReLUs from `z [B, dim]` to the log-odds `[B]`, float32 at the least, that z was drawn from q(z)
    rather than from the product of its marginals; Kim & Mnih 2018 (arXiv:1802.05983), appendix A.

    Args:
        dim: size of the flattened latent.
        hidden: widths of the hidden layers.
    """

    def __init__(self, dim: int, hidden: Sequence[int] = (1000,) * 6) -> None:
        super().__init__()
        widths = [dim, *hidden, 1]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))

    def forward(self, z: Tensor, frozen: bool = False) -> Tensor:
        """frozen: the gradient goes to z alone and leaves the weights out."""
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Linear)
            weight, bias = (layer.weight.detach(), layer.bias.detach()) if frozen else (layer.weight, layer.bias)
            z = F.linear(z if not number else F.leaky_relu(z, _SLOPE), weight, bias)
        return z[:, 0].to(torch.promote_types(z.dtype, torch.float32))


def permute_dims(z: Tensor) -> Tensor:
    """`z [B, D]` with each dimension in an order of its own over the batch: draws of the product of z's marginals."""
    return z.gather(0, torch.rand(z.shape, device=z.device).argsort(0))
