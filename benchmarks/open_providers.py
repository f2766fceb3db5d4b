"""What the certificate costs where it settles nothing: ours, and the same comparison without a search."""

import torch
from torch import Tensor

from aevae_fast import functional

from .search_providers import Call, Provider


def _every_code(x: Tensor, codebook: Tensor) -> Call:
    return (_by_kernel if x.device.type == "cuda" else _in_float64)(x, codebook)


def _by_kernel(x: Tensor, codebook: Tensor) -> Call:
    from aevae_fast.kernels.entries import ALL_CODES
    from aevae_fast.kernels.nearest_code import settle
    from aevae_fast.kernels.search import sweep

    rows = x[None]
    indices = torch.empty(rows.shape[:2], dtype=torch.int64, device=x.device)
    swept = sweep(rows, codebook, "euclidean", torch.empty_like(indices))
    assert swept.sizes[0] == 1, "a codebook in parts has entries of each"
    swept = swept._replace(entry=torch.full_like(indices, ALL_CODES.value))

    def compare() -> Tensor:
        settle(rows, swept, len(codebook), indices)
        return indices[0]

    return compare


def _in_float64(x: Tensor, codebook: Tensor) -> Call:
    from aevae_fast.portable._resolve import among_shared, few_rows, resolving_threads
    from aevae_fast.portable._search import prepare
    from aevae_fast.portable._threads import on_threads, threads_for

    codes, every, threads = prepare(codebook, "euclidean"), torch.arange(len(codebook)), threads_for(x)
    blocks = torch.arange(len(x)).split(few_rows(codes, "euclidean", threads))
    indices = torch.empty(len(x), dtype=torch.int64)

    def work(block: Tensor) -> None:
        indices[block] = among_shared(x[block], codebook, every, "euclidean")

    def compare() -> Tensor:
        on_threads(lambda: work, blocks, resolving_threads(codes, "euclidean", threads))
        return indices

    return compare


PROVIDERS = {
    "aevae_fast": Provider(lambda x, c: lambda: functional.nearest_code(x, c), capturable=True),
    "every code compared": Provider(_every_code, capturable=True),
}
