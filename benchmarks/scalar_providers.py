"""Who takes a training step of the quantizers without a codebook: forward, loss, and the gradient of x.

Finite scalar quantization of 6 entries, levels 8-8-8-5-5-5; lookup-free quantization of D bits with the entropy loss of
its default settings. Upstream gradients drawn beforehand.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from aevae_fast import reference
from aevae_fast.quantizers import FSQ as OurFSQ
from aevae_fast.quantizers import LFQ as OurLFQ

from .cases import ScalarCase
from .search_providers import Call, Provider, missing, missing_compiler

LEVELS = [8, 8, 8, 5, 5, 5]
_CHECKED_ROWS = 64
_PEER_LIMIT = {"cpu": 1 << 27, "cuda": 1 << 30}  # N·2^bits beyond which the peer takes many times that many floats


def _step(build: Callable[[int], nn.Module], compiled: bool = False) -> Callable[[Tensor, Tensor], Call]:
    def prepare(x: Tensor, upstream: Tensor) -> Call:
        layer: Any = build(x.shape[1]).to(x.device).train()
        layer = torch.compile(layer) if compiled else layer
        leaf, grad = x[None].detach().clone().requires_grad_(), upstream[None]

        def step() -> Tensor:
            leaf.grad = None
            quantized, indices, *losses = layer(leaf)
            torch.autograd.backward([quantized, *losses], [grad, *(torch.ones_like(loss) for loss in losses)])
            return indices[0]

        return step

    return prepare


def _their_fsq(dim: int) -> nn.Module:
    from vector_quantize_pytorch import FSQ

    return FSQ(LEVELS)


def _their_lfq(dim: int) -> nn.Module:
    from vector_quantize_pytorch import LFQ

    return LFQ(codebook_size=2**dim)


def _missing(case: ScalarCase, device: str) -> str | None:
    return missing("vector_quantize_pytorch")


def _cannot_compile(case: ScalarCase, device: str) -> str | None:
    return _missing(case, device) or missing_compiler(device)


def _too_large(case: ScalarCase, device: str) -> str | None:
    wants = case.rows * 2**case.dim
    return "would take more memory than there is" if wants > _PEER_LIMIT[device] else _missing(case, device)


def refuse_wrong_levels(indices: Tensor, x: Tensor, upstream: Tensor) -> None:
    """The first rows against float64; a value where two levels meet may round either way."""
    rows = x[:_CHECKED_ROWS].double()
    expected = reference.finite_scalar_quantize(rows, LEVELS)[1]
    if (indices[:_CHECKED_ROWS] != expected).sum() > 1:
        raise ArithmeticError("aevae_fast found wrong codes")


def refuse_wrong_signs(indices: Tensor, x: Tensor, upstream: Tensor) -> None:
    """The first rows, whose signs have no rounding."""
    expected = reference.lookup_free_quantize(x[:_CHECKED_ROWS].double())[1]
    if not torch.equal(indices[:_CHECKED_ROWS], expected):
        raise ArithmeticError("aevae_fast found wrong codes")


FSQ = {
    "aevae_fast": Provider(_step(lambda dim: OurFSQ(LEVELS)), capturable=True),
    "vector-quantize-pytorch": Provider(_step(_their_fsq), _missing),
    "vector-quantize-pytorch, torch.compile": Provider(_step(_their_fsq, compiled=True), _cannot_compile),
}
LFQ = {
    "aevae_fast": Provider(_step(lambda bits: OurLFQ(codebook_size=2**bits)), capturable=True),
    "vector-quantize-pytorch": Provider(_step(_their_lfq), _too_large),
}
