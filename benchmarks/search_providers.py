"""Who finds the nearest code: ours and what people use instead.

A provider turns (x, codebook) into a call that returns indices; what it may keep between calls is prepared outside the
timed region. Its obstacle says in words why it does not take part in a case.
"""

import importlib.util
import os
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from aevae_fast import functional
from aevae_fast.reference.nearest_code import distances

from .cases import Case

Call = Callable[[], Tensor]
_REFERENCE_LIMIT = {"cpu": 1 << 30, "cuda": 1 << 34}  # N·K·D beyond which the reference takes seconds a call
_COMPILED_LIMIT = {"cpu": 1 << 29, "cuda": 1 << 32}


class Provider(NamedTuple):
    """`capturable`: may be replayed as a CUDA graph. `finds_codes`: its result are indices, not a mere yardstick."""

    prepare: Callable[[Tensor, Tensor], Call]
    obstacle: Callable[[Any, str], str | None] = lambda case, device: None
    capturable: bool = False
    finds_codes: bool = True


def missing(package: str) -> str | None:
    return None if importlib.util.find_spec(package) else f"{package} is not installed"


def missing_compiler(device: str) -> str | None:
    """What torch.compile lacks here."""
    compiler = os.environ.get("CXX", "g++")
    return f"needs a C++ compiler; {compiler} is not there" if device == "cpu" and not shutil.which(compiler) else None


def _elements(case: Case) -> int:
    return case.rows * case.dim * case.codes


def reference_obstacle(case: Case, device: str) -> str | None:
    return "takes seconds a call" if _elements(case) > _REFERENCE_LIMIT[device] else None


def _compiled_obstacle(case: Case, device: str) -> str | None:
    if _elements(case) > _COMPILED_LIMIT[device] or case.dtype != "fp32":
        return "compiled only for float32 and small sizes: each takes tens of seconds to compile"
    return missing_compiler(device)


def _compiled(x: Tensor, codebook: Tensor) -> Call:
    search = torch.compile(lambda x, codebook: distances(x, codebook, "euclidean").argmin(-1))
    return lambda: search(x, codebook)


def _cdist(x: Tensor, codebook: Tensor) -> Call:
    return lambda: torch.cdist(x.float(), codebook).argmin(-1)


def _mm(x: Tensor, codebook: Tensor) -> Call:
    codes = codebook.to(x.dtype)
    return lambda: x @ codes.T


def _mm_out(x: Tensor, codebook: Tensor) -> Call:
    codes, out = codebook.to(x.dtype), x.new_empty(len(x), len(codebook))
    return lambda: torch.mm(x, codes.T, out=out)


def _vector_quantize_pytorch(x: Tensor, codebook: Tensor) -> Call:
    from vector_quantize_pytorch import VectorQuantize

    layer = VectorQuantize(dim=codebook.shape[1], codebook_size=len(codebook)).to(x.device).eval()
    layer._codebook.embed.copy_(codebook[None])
    batch = x[None]

    @torch.no_grad()
    def search() -> Tensor:
        return layer(batch)[1][0]

    return search


def _faiss(x: Tensor, codebook: Tensor) -> Call:
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    rows, codes = x.numpy(), codebook.numpy()
    return lambda: torch.from_numpy(faiss.knn(rows, codes, 1)[1][:, 0])


def _faiss_obstacle(case: Case, device: str) -> str | None:
    return "measured on a CPU only" if device != "cpu" else missing("faiss")


def _flash_kmeans(x: Tensor, codebook: Tensor) -> Call:
    from flash_kmeans.assign_euclid_triton import euclid_assign_triton  # type: ignore[import-not-found,unused-ignore]

    batch, codes = x[None], codebook[None].to(x.dtype)
    square = batch.float().square().sum(-1)
    return lambda: euclid_assign_triton(batch, codes, square)[0]


def _flash_kmeans_obstacle(case: Case, device: str) -> str | None:
    return "needs CUDA" if device != "cuda" else missing("flash_kmeans")


PROVIDERS = {
    "aevae_fast": Provider(lambda x, c: lambda: functional.nearest_code(x, c), capturable=True),
    "reference": Provider(lambda x, c: lambda: functional.nearest_code(x, c, impl="reference"), reference_obstacle),
    "reference, torch.compile": Provider(_compiled, _compiled_obstacle),
    "cdist + argmin": Provider(_cdist, capturable=True),
    "vector-quantize-pytorch (eval)": Provider(
        _vector_quantize_pytorch, lambda case, device: missing("vector_quantize_pytorch")
    ),
    "faiss": Provider(_faiss, _faiss_obstacle),
    "flash-kmeans": Provider(_flash_kmeans, _flash_kmeans_obstacle),
    "mm": Provider(_mm, capturable=True, finds_codes=False),
    "mm into place": Provider(_mm_out, capturable=True, finds_codes=False),
}
# Those that the plots show along N, D and K.
SWEEP = {
    name: PROVIDERS[name]
    for name in (
        "aevae_fast",
        "cdist + argmin",
        "vector-quantize-pytorch (eval)",
        "faiss",
        "flash-kmeans",
        "mm into place",
    )
}
