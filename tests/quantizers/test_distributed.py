"""Several gloo processes end where one process on the joined batch ends; all layers' statistics in one message a step.

Each spawn of processes does many checks, since a spawn costs seconds.
"""

from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from ..processes import on_processes
from .family import CASES, DIM, MOVING, OF_THE_BATCH, RANDOM, SIZE, Model, batches

STEPS, ROWS = 5, 48
State = dict[str, Tensor]


class Job(NamedTuple):
    """A case to train: how the model is wrapped, the layer's options, what share of the rows each rank has."""

    name: str
    wrap: str
    options: dict[str, Any]
    split: str = "even"

    def shares(self, world: int) -> list[int]:
        even = ROWS // world
        if self.split == "even":
            return [even] * world
        first = 0 if self.split == "empty" else even // 3
        return [first, *[even] * (world - 2), 2 * even - first]


SOME = ("vq", "vq_learnable", "residual", "residual_shared", "residual_cosine", "grouped", "sim_vq")


def jobs(world: int) -> list[Job]:
    """All that two processes can show, and what four show of it."""
    determined = [name for name in CASES if name not in (*RANDOM, *OF_THE_BATCH)]
    dying = {name: {"threshold_ema_dead_code": 0.97} if name in MOVING else {} for name in determined}
    names = determined if world == 2 else SOME
    found = [Job(name, wrap, dying[name]) for name in names for wrap in ("ddp", "fsdp")]
    kept = {name: {"threshold_ema_dead_code": 0} if name in MOVING else {} for name in SOME}
    return found + [Job(name, "ddp", kept[name], split) for name in SOME for split in ("uneven", "empty")]


def whole(module: nn.Module) -> State:
    return {
        key: tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
        for key, tensor in module.state_dict().items()
    }


def wrapped(model: nn.Module, wrap: str) -> nn.Module:
    if wrap == "ddp":
        return DistributedDataParallel(model)
    if wrap == "fsdp":
        for part in (getattr(model, "quantizer", None), model):
            if part is not None and any(True for _ in part.parameters()):
                fully_shard(part)
    return model


def train(job: Job, rank: int, world: int) -> State:
    model = Model(job.name, **job.options)
    forward = wrapped(model, job.wrap if world > 1 else "")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for batch in batches(STEPS, ROWS):
        part = batch.split(job.shares(world) if world > 1 else ROWS)[rank]
        optimizer.zero_grad()
        (forward(part) * (len(part) * world / ROWS)).backward()
        optimizer.step()
    return whole(model)


# --- several layers at once ------------------------------------------------------------------------------------------


class Several(nn.Module):
    """Layers that move their codes, side by side."""

    names = ("vq_cosine", "vq_learnable", "vq_sampled", "residual_shared", "residual_dropout", "grouped")

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.parts = nn.ModuleList(Model(name, **options) for name in self.names)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([part(x) for part in self.parts]).sum()


class Messages:
    """Counts the all-reduces of this library; DDP's own are not made through this function."""

    def __enter__(self) -> "Messages":
        self.count, self.original = 0, dist.all_reduce

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            return self.original(*args, **kwargs)

        dist.all_reduce = counted
        return self

    def __exit__(self, *_: Any) -> None:
        dist.all_reduce = self.original


def many(world: int) -> int:
    """A hundred steps, and fewer where four processes share few cores."""
    return 100 if world == 2 else 25


def long_run(rank: int, world: int) -> tuple[State, int]:
    """Many steps with k-means initialisation, dying codes, uneven batches and numbers that each rank draws."""
    model = Several(kmeans_init=True, kmeans_iters=2, threshold_ema_dead_code=0.9, decay=0.9)
    forward = DistributedDataParallel(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    torch.manual_seed(rank)
    with Messages() as messages:
        for step, batch in enumerate(batches(many(world), ROWS)):
            part = batch.split(Job("", "", {}, ("even", "uneven", "empty")[step % 3]).shares(world))[rank]
            optimizer.zero_grad()
            forward(part).backward()
            optimizer.step()
    return model.state_dict(), messages.count


def in_forward(rank: int, world: int) -> tuple[dict[str, State], int]:
    """Without a gradient each forward moves its codebooks, all in one go."""
    torch.manual_seed(1)
    names = ["vq", "residual", "residual_shared", "residual_cosine", "grouped"]
    layers = {name: CASES[name](threshold_ema_dead_code=0.97) for name in names}
    with Messages() as messages:
        for batch in batches(STEPS, ROWS):
            for layer in layers.values():
                layer(batch.chunk(world)[rank])
    return {name: layer.state_dict() for name, layer in layers.items()}, messages.count


def sometimes_idle(rank: int, world: int) -> State:
    """The layer is not used on rank 0 in every other step, nor on any in the last; `step_with` lets that be."""
    torch.manual_seed(1)
    layer = CASES["residual"](threshold_ema_dead_code=0)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    layer.step_with(optimizer)  # type: ignore[operator]
    for step, batch in enumerate(batches(STEPS, ROWS)):
        parts = batch.chunk(max(world, 2))
        used = [part for number, part in enumerate(parts) if (number > 0 or step % 2 == 0) and step < STEPS - 1]
        mine = torch.cat(used or [batch[:0]]) if world == 1 else parts[rank]
        if used and (world == 1 or any(mine is part for part in used)):
            layer(mine.clone().requires_grad_())[2].sum().backward()
        optimizer.step()
    return layer.state_dict()


def initialised(rank: int, world: int, wrap: str) -> State:
    """A learnable codebook after its first step, on data in clear clusters of which each rank sees some."""
    model = Model("vq_learnable", kmeans_init=True, threshold_ema_dead_code=0)
    with torch.no_grad():
        model.encoder.weight.copy_(torch.eye(DIM))
        model.encoder.bias.zero_()
    forward = wrapped(model, wrap)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    forward(clusters().chunk(world)[rank]).backward()
    optimizer.step()
    return whole(model)


def clusters() -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return (20 * torch.randn(SIZE // 2, DIM, generator=generator)).repeat_interleave(8, 0)


def work(rank: int, world: int) -> dict[str, Any]:
    return {
        "jobs": [train(job, rank, world) for job in jobs(world)],
        "long": long_run(rank, world),
        "in_forward": in_forward(rank, world),
        "sometimes_idle": sometimes_idle(rank, world),
        "initialised": [initialised(rank, world, wrap) for wrap in ("ddp", "fsdp")],
    }


# --- the checks ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[2, 4])
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two or four processes found."""
    return on_processes(work, request.param, tmp_path_factory.mktemp("ranks"))


def same_bits(states: list[State]) -> State:
    for state in states[1:]:
        for key, tensor in states[0].items():
            assert torch.equal(tensor, state[key]), key
    return states[0]


def close(mine: State, theirs: State, name: str = "") -> None:
    for key, tensor in theirs.items():
        torch.testing.assert_close(mine[key], tensor, msg=lambda text, key=key: f"{name} {key}: {text}")


@pytest.mark.parametrize(("wrap", "split"), [("ddp", "even"), ("fsdp", "even"), ("ddp", "uneven"), ("ddp", "empty")])
def test_processes_equal_one(ranks: list[dict[str, Any]], wrap: str, split: str) -> None:
    """EMA and gradient codebooks, dead codes replaced; uneven and empty batches."""
    for number, job in enumerate(jobs(len(ranks))):
        if (job.wrap, job.split) == (wrap, split):
            together = same_bits([rank["jobs"][number] for rank in ranks])
            close(together, train(job, 0, 1), job.name)


def test_dead_codes_were_replaced() -> None:
    """So that the equality above says something of it."""
    job = Job("residual", "", {"threshold_ema_dead_code": 0.97})
    replaced, kept = train(job, 0, 1), train(job._replace(options={"threshold_ema_dead_code": 0}), 0, 1)
    for stage in range(2):
        key = f"quantizer.layers.{stage}._codebook.embed"
        assert (replaced[key] != kept[key]).any()


def test_codebooks_are_the_same_bits_after_many_steps(ranks: list[dict[str, Any]]) -> None:
    state = same_bits([rank["long"][0] for rank in ranks])
    for key, tensor in state.items():
        assert tensor.isfinite().all(), key
        assert not key.endswith("steps") or tensor > many(len(ranks)) / 2  # a stage not drawn rests


def test_one_message_a_step_for_all_layers(ranks: list[dict[str, Any]]) -> None:
    assert [rank["long"][1] for rank in ranks] == [many(len(ranks))] * len(ranks)
    assert [rank["in_forward"][1] for rank in ranks] == [STEPS * 5] * len(ranks)  # five layers, each a forward


def test_forwards_without_gradient_equal_one_process(ranks: list[dict[str, Any]]) -> None:
    alone = in_forward(0, 1)[0]
    for name, state in alone.items():
        close(same_bits([rank["in_forward"][0][name] for rank in ranks]), state, name)


def test_a_layer_idle_on_some_ranks(ranks: list[dict[str, Any]]) -> None:
    state = same_bits([rank["sometimes_idle"] for rank in ranks])
    if len(ranks) == 2:
        close(state, sometimes_idle(0, 1))
    assert all(tensor == STEPS - 1 for key, tensor in state.items() if key.endswith("steps"))


@pytest.mark.parametrize("wrap", ["ddp", "fsdp"])
def test_initial_codes_are_of_all_ranks_data(ranks: list[dict[str, Any]], wrap: str) -> None:
    """Also where FSDP2 forgets what a forward writes to a parameter."""
    state = same_bits([rank["initialised"][wrap == "fsdp"] for rank in ranks])
    codes = state["quantizer._codebook.embed"][0]
    assert torch.cdist(clusters().unique(dim=0), codes).amin(1).max() < 0.1
