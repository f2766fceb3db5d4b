"""The helper of the distributed tests: what processes return comes back, what they raise is told."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from .processes import on_processes


def _sum_of_ranks(rank: int, world: int, offset: float) -> torch.Tensor:
    value = torch.tensor(rank + offset)
    dist.all_reduce(value)
    return value


def _last_fails(rank: int, world: int) -> None:
    if rank == world - 1:
        raise ValueError(f"a mistake on rank {rank}")
    dist.barrier()


def test_returns_come_back_in_order(tmp_path: Path) -> None:
    assert on_processes(_sum_of_ranks, 3, tmp_path, 0.5) == [4.5, 4.5, 4.5]


def test_an_exception_is_reported_while_others_wait(tmp_path: Path) -> None:
    with pytest.raises(torch.multiprocessing.ProcessRaisedException, match="a mistake on rank 1"):
        on_processes(_last_fails, 2, tmp_path)
