"""Who finds the code at the smallest angle: the search of image tokenizers, few dimensions and many codes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from aevae_fast import functional, reference
from aevae_fast.cli._verdict import wrong_indices

from .search_providers import Call, Provider, missing, reference_obstacle

_CHECKED_ROWS = 64


def _eager(x: Tensor, codebook: Tensor) -> Call:
    codes = F.normalize(codebook, dim=1)
    return lambda: (F.normalize(x.float(), dim=1) @ codes.T).argmax(1)


def _vector_quantize_pytorch(x: Tensor, codebook: Tensor) -> Call:
    from vector_quantize_pytorch import VectorQuantize

    layer = VectorQuantize(dim=codebook.shape[1], codebook_size=len(codebook), use_cosine_sim=True)
    layer = layer.to(x.device).eval()
    layer._codebook.embed.copy_(F.normalize(codebook, dim=1)[None])
    batch = x[None]

    @torch.no_grad()
    def search() -> Tensor:
        return layer(batch)[1][0]

    return search


PROVIDERS = {
    "aevae_fast": Provider(lambda x, c: lambda: functional.nearest_code(x, c, metric="cosine"), capturable=True),
    "reference": Provider(
        lambda x, c: lambda: functional.nearest_code(x, c, metric="cosine", impl="reference"), reference_obstacle
    ),
    "normalize, mm, argmax": Provider(_eager, capturable=True),
    "vector-quantize-pytorch (eval)": Provider(
        _vector_quantize_pytorch, lambda case, device: missing("vector_quantize_pytorch")
    ),
}


def refuse_wrong(indices: Tensor, x: Tensor, codebook: Tensor) -> None:
    """The first rows against the float64 reference."""
    rows, found = x[:_CHECKED_ROWS], indices[:_CHECKED_ROWS]
    best = reference.nearest_code(rows.double(), codebook.double(), "cosine")
    if wrong_indices(rows, codebook, found, best, "cosine").any():
        raise ArithmeticError(f"aevae_fast found wrong codes for x {tuple(x.shape)}, codebook {tuple(codebook.shape)}")
