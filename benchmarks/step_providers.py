"""Who takes a training step of a quantizer: forward, backward to x, EMA update of the codebook.

Settings are the same for all: straight-through gradient, commitment weight 1, decay 0.99, eps 1e-5, no replacement of
dead codes, upstream gradients on the quantized vectors. Ours moves its codebook when an optimizer steps, so here the
call that an optimizer would make is inside the timed region.
"""

from typing import Any

import torch
from torch import Tensor

import aevae_fast
from aevae_fast import reference

from .search_providers import Call, Provider, missing, reference_obstacle

_DECAY, _EPS = 0.99, 1e-5


def _backward(quantized: Tensor, loss: Tensor, x: Tensor, upstream: Tensor) -> None:
    x.grad = None
    torch.autograd.backward((quantized, loss), (upstream, torch.ones_like(loss)))


def _ours(x: Tensor, codebook: Tensor, dead: float | None = 0.0) -> Call:
    layer = aevae_fast.VectorQuantize(
        codebook.shape[1], len(codebook), decay=_DECAY, eps=_EPS, commitment_weight=1.0, threshold_ema_dead_code=dead
    ).to(x.device)
    _start(layer, codebook)
    x, upstream = x.detach().requires_grad_(), torch.randn_like(x)

    def step() -> Tensor:
        quantized, indices, loss = layer(x)
        _backward(quantized, loss, x, upstream)
        aevae_fast.update_codebooks()
        return indices

    return step


def _vector_quantize_pytorch(x: Tensor, codebook: Tensor) -> Call:
    from vector_quantize_pytorch import VectorQuantize

    layer = VectorQuantize(
        dim=codebook.shape[1],
        codebook_size=len(codebook),
        decay=_DECAY,
        eps=_EPS,
        commitment_weight=1.0,
        threshold_ema_dead_code=0,
        rotation_trick=False,
    ).to(x.device)
    _start(layer, codebook)
    x, upstream = x.detach()[None].requires_grad_(), torch.randn_like(x)[None]

    def step() -> Tensor:
        quantized, indices, loss = layer(x)
        _backward(quantized, loss, x, upstream)
        return indices[0]

    return step


@torch.no_grad()
def _start(layer: Any, codebook: Tensor) -> None:
    state = layer._codebook  # both libraries name it and its buffers alike
    state.embed.copy_(codebook[None])
    state.embed_avg.copy_(codebook[None])


def _reference_step(x: Tensor, codebook: Tensor, state: tuple[Tensor, Tensor], upstream: Tensor) -> tuple[Tensor, ...]:
    quantized, indices, loss = reference.vector_quantize(x, codebook, commitment_weight=1.0, codebook_weight=0.0)
    _backward(quantized, loss, x, upstream)
    counts, sums = reference.codebook_statistics(x.detach(), indices, len(codebook))
    return indices, *reference.ema_update(codebook, *state, counts, sums, decay=_DECAY, eps=_EPS)


def _reference(x: Tensor, codebook: Tensor) -> Call:
    x, upstream = x.detach().requires_grad_(), torch.randn_like(x)
    moved = [codebook.clone(), torch.ones(len(codebook), device=x.device), codebook.clone()]

    def step() -> Tensor:
        indices, *moved[:] = _reference_step(x, moved[0], (moved[1], moved[2]), upstream)
        return indices

    return step


PROVIDERS = {
    "aevae_fast": Provider(_ours, capturable=True),
    "aevae_fast, dead codes replaced": Provider(lambda x, codebook: _ours(x, codebook, None), capturable=True),
    "reference": Provider(_reference, reference_obstacle),
    "vector-quantize-pytorch": Provider(
        _vector_quantize_pytorch, lambda case, device: missing("vector_quantize_pytorch")
    ),
}
