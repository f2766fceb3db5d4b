"""The quantizers as the tests of training conditions see them: an encoder and one of many layers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from aevae_fast.quantizers import (
    FSQ,
    LFQ,
    GroupedResidualVQ,
    LatentQuantize,
    ResidualFSQ,
    ResidualLFQ,
    ResidualSimVQ,
    ResidualVQ,
    SimVQ,
    VectorQuantize,
)

DIM, SIZE = 6, 20
Build = Callable[..., nn.Module]


def _layer(kind: Callable[..., nn.Module], **options: Any) -> Build:
    return lambda **extra: kind(DIM, **{"codebook_size": SIZE, **options, **extra})


_residual = {"num_quantizers": 2}
_MOVING: dict[str, Build] = {
    "vq": _layer(VectorQuantize),
    "vq_cosine": _layer(VectorQuantize, use_cosine_sim=True),
    "vq_learnable": _layer(VectorQuantize, learnable_codebook=True),
    "vq_projected": _layer(VectorQuantize, codebook_dim=4),
    "vq_rotation": _layer(VectorQuantize, rotation_trick=True),
    "vq_heads": _layer(VectorQuantize, codebook_dim=3, heads=2, separate_codebook_per_head=True),
    "vq_ibq": _layer(VectorQuantize, estimator="ibq"),
    "vq_gumbel": _layer(VectorQuantize, estimator="gumbel"),
    "vq_diveq": _layer(VectorQuantize, estimator="diveq"),
    "vq_affine": _layer(VectorQuantize, affine_param=True),
    "vq_diverse": _layer(VectorQuantize, codebook_diversity_loss_weight=0.1),
    "vq_sampled": _layer(VectorQuantize, stochastic_sample_codes=True),
    "residual": _layer(ResidualVQ, **_residual),
    "residual_sizes": _layer(ResidualVQ, codebook_size=(16, 8, 4)),
    "residual_shared": _layer(ResidualVQ, shared_codebook=True, **_residual),
    "residual_learnable": _layer(ResidualVQ, learnable_codebook=True, detach_residual=False, **_residual),
    "residual_dropout": _layer(ResidualVQ, quantize_dropout=True, rotation_trick=True, **_residual),
    "residual_beams": _layer(ResidualVQ, beam_size=2, codebook_dim=4, **_residual),
    "residual_cosine": _layer(ResidualVQ, use_cosine_sim=True, **_residual),
    "grouped": _layer(GroupedResidualVQ, groups=2, **_residual),
}
_STILL: dict[str, Build] = {
    "fsq": lambda: FSQ([3, 5, 4], dim=DIM),
    "residual_fsq": lambda: ResidualFSQ(levels=[3, 5, 4], dim=DIM, **_residual),
    "lfq": lambda: LFQ(dim=DIM, codebook_size=2**DIM),
    "residual_lfq": lambda: ResidualLFQ(dim=DIM, codebook_size=2**DIM, **_residual),
    "sim_vq": lambda: SimVQ(DIM, SIZE),
    "residual_sim_vq": lambda: ResidualSimVQ(dim=DIM, codebook_size=SIZE, **_residual),
    "latent": lambda: LatentQuantize([3, 5, 4], dim=DIM, channel_first=False),
}
CASES = {**_MOVING, **_STILL}
MOVING = list(_MOVING)  # whose codebooks move, or count their use
RANDOM = ["vq_diveq", "vq_sampled", "residual_dropout"]  # in training
OF_THE_BATCH = ["vq_diverse", "lfq", "residual_lfq"]  # with an entropy of the whole batch in their loss
FOR_TRAINING = ["lfq", "residual_lfq", "latent"]  # which have no loss in eval


class Model(nn.Module):
    """An encoder before the layer, so that gradients have somewhere to go."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.encoder, self.quantizer = nn.Linear(DIM, DIM), CASES[name](**options)

    def forward(self, x: Tensor, **options: Any) -> Tensor:
        """A loss, mean over x; 0 for an empty one."""
        quantized, _, *rest = self.quantizer(self.encoder(x), **options)
        # A third, or the codes would cancel in the gradient: that of the square and the commitment add up to x alone.
        loss: Tensor = quantized.square().sum() / (3 * max(quantized.numel(), 1))
        return loss + rest[0].sum() if rest else loss


def batches(steps: int, rows: int = 60) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(rows, DIM, generator=generator) for _ in range(steps)]


def train(model: Model, steps: int = 4, parts: int = 1, forward: Any = None, lr: float = 0.1) -> Model:
    """SGD on the loss of some batches, each in `parts`, with the same random numbers each time."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    torch.manual_seed(2)
    for batch in batches(steps):
        for part in batch.chunk(parts):
            ((model if forward is None else forward)(part) / parts).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def states_close(mine: nn.Module, theirs: nn.Module) -> None:
    for name, tensor in mine.state_dict().items():
        torch.testing.assert_close(tensor, theirs.state_dict()[name], msg=lambda text, name=name: f"{name}: {text}")


def states_equal(mine: nn.Module, theirs: nn.Module) -> None:
    for name, tensor in mine.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict()[name]), name
