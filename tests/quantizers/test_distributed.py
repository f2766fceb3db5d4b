"""Two gloo processes end where one process on the joined batch ends."""

import copy
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

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


def _worker(rank: int, world: int, port: int, folder: str, options: dict[str, Any]) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world)
    model = Model(**options)
    _train(DistributedDataParallel(model, broadcast_buffers=False), rank, world)
    torch.save(model.state_dict(), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize(
    "options", [{"decay": 0.9}, {"learnable_codebook": True, "threshold_ema_dead_code": 0.8}], ids=str
)
def test_two_processes_equal_one(tmp_path: Path, options: dict[str, Any]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_worker, args=(2, port, str(tmp_path), options), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    for name in first:
        assert torch.equal(first[name], second[name]), name
    alone, pair = Model(**options), copy.deepcopy(Model(**options))
    _train(alone, 0, 1)
    pair.load_state_dict(first)
    states_close(alone, pair)
    assert alone.quantizer._codebook.steps == STEPS
