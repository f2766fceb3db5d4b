"""What a training step asks the device for beside its search, counted under the interpreter: as demands.py says."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from aevae_fast import VectorQuantize, update_codebooks
from aevae_fast.functional import _ops
from aevae_fast.functional._ops import implementation
from benchmarks import demands

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="kernels are counted as the interpreter runs them")


class Launches(TorchDispatchMode):
    """Kernels, by name, and PyTorch's operations that launch something; not those that the interpreter itself takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        from triton.runtime.interpreter import GridExecutor

        self.names: list[str] = []
        self.inside, run = False, GridExecutor.__call__

        def call(executor: Any, *args: Any, **options: Any) -> None:
            self.names.append(executor.fn.__name__)
            self.inside = True
            run(executor, *args, **options)
            self.inside = False

        monkeypatch.setattr(GridExecutor, "__call__", call)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name().removeprefix("aten::")
        own = func.namespace == "aevae_fast"  # its kernels come by
        if not (self.inside or own or func.is_view or "empty" in name or name == "detach"):
            self.names.append(name)
        return func(*args, **(kwargs or {}))

    def taken(self) -> list[str]:
        names, self.names = self.names, []
        return names


# Launches of a sort beside its passes: places filled, counters cleared, digits counted and summed.
_SORT = 4
_UPDATE = ["_ema_total_kernel", "_ema_update_kernel"]


@pytest.mark.parametrize("dead", [0.0, None], ids=["codes live", "dead codes replaced"])
@pytest.mark.parametrize("few", [True, False], ids=["few rows", "many rows"])
def test_a_training_step(few: bool, dead: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = VectorQuantize(4, 8, impl="triton", threshold_ema_dead_code=dead)
    monkeypatch.setattr(_ops, "implementation", lambda _, name: implementation("kernels", name))  # as on a GPU
    if not few:
        monkeypatch.setattr("aevae_fast.kernels.codebook_statistics.FEW", 0)
    x = torch.randn(40, 4, requires_grad=True)
    with Launches(monkeypatch) as launches:
        quantized, _, loss = layer(x)
        forward = launches.taken()
        torch.autograd.backward((quantized, loss), (torch.ones_like(x), torch.ones_like(loss)))
        backward = launches.taken()
        update_codebooks()
        update = launches.taken()
    searched = forward.index("_settle_and_quantize_kernel")
    noted = ["_note_candidates_kernel"] if dead is None else []
    assert forward[: len(noted) + 1] == [*noted, "clone"]
    assert ["clone", *forward[searched + 1 :]] == ["clone", "sum", "mul.Tensor"]
    assert backward[:2] == ["ones_like"] * 2  # the first is the test's own gradient
    assert backward[2:4] == ["mul.Tensor", "_vector_quantize_bwd_kernel"]
    spans = [] if few else ["_span_sums_kernel"]
    sums = ["_code_starts_kernel", "_chunk_sums_kernel", *spans, "_combine_sums_kernel"]
    assert backward[4:] == ["_to_copy", "sort.stable", *sums]
    assert update == _UPDATE
    if spans:
        kernels_of_sort = demands._sort_passes(len(layer.codebook)) + _SORT
        assert len(forward[searched:]) == demands._LOSS
        assert len(backward[1:4]) == 1 + demands._SCALES
        assert len(backward[4:]) - 1 + kernels_of_sort == 1 + demands._STATISTICS
        assert len(update) == 1 + demands._EMA
