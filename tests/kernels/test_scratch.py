"""Memory that a search takes beside inputs and outputs, counted on what its launchers allocate: nothing is computed."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from aevae_fast.kernels import code_columns, configuration, nearest_code, search, vector_quantize

Tensors = tuple[torch.Tensor, ...]


class Allocations(TorchDispatchMode):
    """The storages of all tensors that are made meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[int, torch.UntypedStorage] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.made |= storages((result,))
        return result


def storages(tensors: Tensors) -> dict[int, torch.UntypedStorage]:
    return {storage._cdata: storage for storage in (tensor.untyped_storage() for tensor in tensors)}


def size(made: dict[int, torch.UntypedStorage]) -> int:
    return sum(storage.nbytes() for storage in made.values())


class Launch:
    """Takes the place of a kernel, and does nothing."""

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return lambda *_, **__: None


@pytest.fixture
def not_launched(monkeypatch):
    for module, kernel in (
        (code_columns, "_code_columns_kernel"),
        (search, "_sweep_kernel"),
        (nearest_code, "_settle_kernel"),
        (vector_quantize, "_settle_and_quantize_kernel"),
    ):
        monkeypatch.setattr(module, kernel, Launch())


def found(x: torch.Tensor, codebook: torch.Tensor) -> Tensors:
    return (nearest_code.nearest_code(x, codebook),)


def quantized(x: torch.Tensor, codebook: torch.Tensor) -> Tensors:
    return vector_quantize.vector_quantize(x, codebook, None)


@pytest.mark.parametrize("arch", ["sm_90", "sm_100"])
@pytest.mark.parametrize("search_of", [found, quantized])
def test_scratch_is_a_twentieth_at_most(search_of, arch, not_launched, monkeypatch):
    config = configuration.search_config(64, arch)
    assert config.again
    monkeypatch.setattr(search, "search_config", lambda *_: config)
    x = torch.empty(1, 65536, 64, device="meta")
    codebook = torch.empty(1024, 64, device="meta")
    with Allocations() as allocations:
        outputs = search_of(x, codebook)
    kept = storages((x, codebook, *outputs))
    scratch = {key: storage for key, storage in allocations.made.items() if key not in kept}
    # What it cannot do without: the codes' columns, twice, and a list of rows. So much is seen at least.
    assert size(scratch) >= 2 * 1024 * 64 * 2 + 4 * 65536
    assert size(scratch) <= 0.05 * size(kept)
