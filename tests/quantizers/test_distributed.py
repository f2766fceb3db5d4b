"""Two gloo processes end where one process on the joined batch ends."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from ..processes import on_processes
from .test_vector_quantize import Model, states_close

STEPS, ROWS = 5, 48


def _train(model: torch.nn.Module, rank: int, world: int) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        joined = torch.randn(ROWS, 6, generator=generator)
        optimizer.zero_grad()
        model(joined.chunk(world)[rank]).backward()
        optimizer.step()


def _train_with_an_empty_rank(model: torch.nn.Module, rank: int, world: int) -> None:
    """The last rank has no rows, in the first step (k-means) as in all others."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        joined = torch.randn(ROWS, 6, generator=generator)
        optimizer.zero_grad()
        (model(joined[ROWS if rank == world - 1 else 0 :]) / ROWS).backward()
        optimizer.step()


class SumModel(Model):
    """Sums, since the mean over no rows is NaN."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        quantized, _, loss = self.quantizer(self.encoder(x))
        return quantized.square().sum() + loss


def _work(rank: int, world: int, options: dict[str, Any]) -> dict[str, torch.Tensor]:
    empty_rank = options.pop("empty_rank", False)
    model, loop = (SumModel(**options), _train_with_an_empty_rank) if empty_rank else (Model(**options), _train)
    loop(DistributedDataParallel(model, broadcast_buffers=False), rank, world)
    return model.state_dict()


def _run_two(folder: Path, options: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The state after training on two ranks, which must be the same bits on both."""
    first, second = on_processes(_work, 2, folder, options)
    for name in first:
        assert torch.equal(first[name], second[name]), name
    return dict(first)


def test_an_empty_rank_is_fine(tmp_path: Path) -> None:
    state = _run_two(tmp_path, {"empty_rank": True, "kmeans_init": True, "threshold_ema_dead_code": 0.9})
    assert state["quantizer._codebook.initted"]
    assert state["quantizer._codebook.steps"] == STEPS
    codes = state["quantizer._codebook.embed"]
    assert codes.isfinite().all()
    assert len(codes[0].unique(dim=0)) == 20


@pytest.mark.parametrize(
    "options", [{"decay": 0.9}, {"learnable_codebook": True, "threshold_ema_dead_code": 0.8}], ids=str
)
def test_two_processes_equal_one(tmp_path: Path, options: dict[str, Any]) -> None:
    first = _run_two(tmp_path, options)
    alone, pair = Model(**options), copy.deepcopy(Model(**options))
    _train(alone, 0, 1)
    pair.load_state_dict(first)
    states_close(alone, pair)
    assert alone.quantizer._codebook.steps == STEPS
