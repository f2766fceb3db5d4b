"""Functions run on several gloo processes, for the tests of what is distributed."""

import os
import sys
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def on_processes(function: Callable[..., Any], world: int, folder: Path, *args: Any) -> list[Any]:
    """Call `function(rank, world, *args)` on `world` processes of one gloo group: what each returned, by rank. An
    empty `folder` holds how they meet and what they return: tensors, numbers, text, in dicts, lists and tuples.

    Raises:
        torch.multiprocessing.ProcessRaisedException: a process raised; its traceback is in the message.
    """
    # Forked from a server that has imported torch once, where "spawn" imports it in each process. The server has
    # computed nothing, so no thread of torch's is lost in the fork.
    get_context("forkserver").set_forkserver_preload(["torch.distributed.fsdp", "aevae_fast"])
    mp.start_processes(_work, (function, world, folder, args), world, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(world)]


def _work(rank: int, function: Callable[..., Any], world: int, folder: Path, args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    # A file to meet at: a port that was free when it was chosen may be taken when it is used.
    dist.init_process_group(
        "gloo", f"file://{folder / 'meeting'}", rank=rank, world_size=world, timeout=timedelta(minutes=2)
    )
    torch.save(function(rank, world, *args), folder / f"{rank}.pt")
    dist.barrier()  # nobody leaves while another still needs its connection
    dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not through Python's finalization: a thread of gloo's may outlive it, and then the process ends in std::terminate,
    # "terminate called without an active exception". An exception takes the usual way and is reported.
    os._exit(0)
