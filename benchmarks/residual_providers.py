"""Who quantizes residuals: a training step (forward, backward to x, EMA update of every stage), and a forward alone.

Settings are the same for all, as in `step_providers.py`; a forward is that of `eval()` under `torch.no_grad()`. Calls
return the indices of all stages, [N, Q].
"""

from typing import Any

import torch
from torch import Tensor

import aevae_fast
from aevae_fast import reference
from aevae_fast.cli._verdict import wrong_indices
from aevae_fast.quantizers import ResidualVQ

from .cases import ResidualCase
from .search_providers import Call, Provider, missing

_OPTIONS = {"decay": 0.99, "eps": 1e-5, "commitment_weight": 1.0, "threshold_ema_dead_code": 0, "rotation_trick": False}
_REFERENCE_LIMIT = {"cpu": 1 << 30, "cuda": 1 << 34}  # N·K·D·Q beyond which the reference takes seconds a call
_CHECKED_ROWS = 64


def _backward(quantized: Tensor, losses: Tensor, x: Tensor, upstream: Tensor) -> None:
    x.grad = None
    torch.autograd.backward((quantized, losses), (upstream, torch.ones_like(losses)))


@torch.no_grad()
def _start(layer: Any, codebooks: Tensor) -> Any:
    for stage, codes in zip(layer.layers, codebooks, strict=True):  # both libraries name them and their buffers alike
        stage._codebook.embed.copy_(codes[None])
        stage._codebook.embed_avg.copy_(codes[None])
    return layer.to(codebooks.device)


def _our_layer(codebooks: Tensor) -> Any:
    stages, size, dim = codebooks.shape
    return _start(ResidualVQ(dim, size, stages, **_OPTIONS), codebooks)


def _their_layer(codebooks: Tensor) -> Any:
    from vector_quantize_pytorch import ResidualVQ

    stages, size, dim = codebooks.shape
    return _start(ResidualVQ(dim=dim, codebook_size=size, num_quantizers=stages, **_OPTIONS), codebooks)


def _our_step(x: Tensor, codebooks: Tensor) -> Call:
    layer = _our_layer(codebooks)
    x, upstream = x.detach().requires_grad_(), torch.randn_like(x)

    def step() -> Tensor:
        quantized, indices, losses = layer(x)
        _backward(quantized, losses, x, upstream)
        aevae_fast.update_codebooks()
        return indices

    return step


def _their_step(x: Tensor, codebooks: Tensor) -> Call:
    layer = _their_layer(codebooks)
    x, upstream = x.detach()[None].requires_grad_(), torch.randn_like(x)[None]

    def step() -> Tensor:
        quantized, indices, losses = layer(x)
        _backward(quantized, losses, x, upstream)
        return indices[0]

    return step


def _reference_step(x: Tensor, codebooks: Tensor) -> Call:
    x, upstream = x.detach().requires_grad_(), torch.randn_like(x)
    books = list(codebooks.clone())
    state = [(x.new_ones(len(codes), dtype=torch.float32), codes.clone()) for codes in books]

    def step() -> Tensor:
        quantized, indices, losses = reference.residual_vector_quantize(
            x, books, commitment_weight=1.0, codebook_weight=0.0
        )
        _backward(quantized, losses, x, upstream)
        found = reference.residual_statistics(x.detach(), books, indices)
        for q, (counts, sums) in enumerate(found):
            books[q], *moved = reference.ema_update(books[q], *state[q], counts, sums, decay=0.99, eps=1e-5)
            state[q] = (moved[0], moved[1])
        return indices

    return step


def _forward(layer: Any, x: Tensor) -> Call:
    layer.eval()

    @torch.no_grad()
    def forward() -> Tensor:
        return layer(x)[1]

    return forward


def _reference_forward(x: Tensor, codebooks: Tensor) -> Call:
    books = list(codebooks)
    return lambda: reference.residual_vector_quantize(x, books)[1]


def _their_forward(x: Tensor, codebooks: Tensor) -> Call:
    forward = _forward(_their_layer(codebooks), x[None])
    return lambda: forward()[0]


def _reference_obstacle(case: ResidualCase, device: str) -> str | None:
    elements = case.rows * case.dim * case.codes * case.stages
    return "takes seconds a call" if elements > _REFERENCE_LIMIT[device] else None


def _peer_obstacle(case: ResidualCase, device: str) -> str | None:
    return missing("vector_quantize_pytorch")


STEPS = {
    "aevae_fast": Provider(_our_step, capturable=True),
    "reference": Provider(_reference_step, _reference_obstacle),
    "vector-quantize-pytorch": Provider(_their_step, _peer_obstacle),
}
FORWARDS = {
    "aevae_fast": Provider(lambda x, codebooks: _forward(_our_layer(codebooks), x), capturable=True),
    "reference": Provider(_reference_forward, _reference_obstacle),
    "vector-quantize-pytorch (eval)": Provider(_their_forward, _peer_obstacle),
}


def refuse_wrong(indices: Tensor, x: Tensor, codebooks: Tensor) -> None:
    """The first rows of each stage against the float64 reference, given the residual that the stage met."""
    left = x[:_CHECKED_ROWS].float()
    for stage, (codes, found) in enumerate(zip(codebooks, indices[:_CHECKED_ROWS].unbind(1), strict=True)):
        best = reference.nearest_code(left.double(), codes.double())
        if wrong_indices(left, codes, found, best, "euclidean").any():
            raise ArithmeticError(f"aevae_fast found wrong codes in stage {stage} for x {tuple(x.shape)}")
        left = left - codes[found.clamp(min=0)]
