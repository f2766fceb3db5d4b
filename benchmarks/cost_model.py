"""What a kernel's counted work takes on a GPU: a model without a fitted number, to be held against records.

A kernel asks for bytes from DRAM, bytes from L2, flops of the tensor cores and instructions. Each takes its time at the
device's rate (devices.py); loads run beside arithmetic, so the longest counts. Whether tensor cores run beside the
comparisons of another tile is an assumption: the warps of a program of the search wait for each other at every tile, so
they do where registers leave room for two programs on a processor, and not where there is one. Both ends are given:
`Terms.seconds` adds product and comparisons of one program, `Terms.overlapped` takes the longer of any. Launches follow
each other. Not in the model: latency, contention, clocks below their peak, the host.
"""

from typing import NamedTuple

from .devices import HALF_LANES, ISSUE_LANES, LAUNCH, MEMORY_SHARE, SPECIAL_LANES, TENSOR_SHARE, Device


class Demand(NamedTuple):
    """What a kernel, or several of a kind, ask for.

    Attributes:
        memory: bytes from and to DRAM.
        l2: bytes that processors read from L2.
        flops: of the tensor cores, including those of rows, codes and columns that only pad, and of idle processors
            in a last round of programs that is not full.
        issued, half, special: thread instructions, as in Counts, with the same padding.
        launches: of kernels, one after the other.
        programs: that stand beside each other on a processor.
    """

    memory: float = 0.0
    l2: float = 0.0
    flops: float = 0.0
    issued: float = 0.0
    half: float = 0.0
    special: float = 0.0
    launches: int = 1
    programs: int = 1


class Terms(NamedTuple):
    """Seconds that each part of a demand takes on its own; whether product and comparisons run beside each other."""

    memory: float
    l2: float
    product: float
    comparisons: float
    launches: float
    beside: bool = False

    @property
    def seconds(self) -> float:
        """With product and comparisons of one program one after the other."""
        if self.beside:
            return self.overlapped
        return self.launches + max(self.memory, self.l2, self.product + self.comparisons)

    @property
    def overlapped(self) -> float:
        """With all beside each other."""
        return self.launches + max(self.memory, self.l2, self.product, self.comparisons)

    def spent(self) -> dict[str, float]:
        """Which parts make up `seconds`; they add up to it."""
        waits = {"memory": self.memory, "L2": self.l2}
        busy = {"product": self.product, "comparisons": self.comparisons}
        if self.beside:
            waits, busy = waits | busy, {}
        slowest = max(waits, key=lambda name: waits[name])
        if waits[slowest] > sum(busy.values()):
            busy = {slowest: waits[slowest]}
        return busy | {"launches": self.launches}


def terms(demand: Demand, device: Device) -> Terms:
    """Seconds on `device`. Of issue slots, half-rate and special units, the one that takes longest counts."""
    clocks = device.processors * device.clock
    instructions = max(demand.issued / ISSUE_LANES, demand.half / HALF_LANES, demand.special / SPECIAL_LANES)
    return Terms(
        memory=demand.memory / (MEMORY_SHARE * device.memory),
        l2=demand.l2 / device.l2,
        product=demand.flops / (TENSOR_SHARE * device.tensor),
        comparisons=instructions / clocks,
        launches=demand.launches * LAUNCH,
        beside=demand.programs > 1,
    )


class Prediction(NamedTuple):
    """Seconds of kernels that run one after the other.

    Attributes:
        seconds: of all, product and comparisons one after the other.
        overlapped: of all, everything in a kernel beside each other.
        spent: which part of the model takes how much of `seconds`.
    """

    seconds: float
    overlapped: float
    spent: dict[str, float]

    @property
    def mostly(self) -> str:
        """The part that takes most."""
        return max(self.spent, key=lambda name: self.spent[name])


def predict(demands: dict[str, Demand], device: Device) -> Prediction:
    """Of kernels, by name, that run one after the other."""
    each = [terms(demand, device) for demand in demands.values()]
    spent: dict[str, float] = {}
    for part in each:
        for name, seconds in part.spent().items():
            spent[name] = spent.get(name, 0.0) + seconds
    return Prediction(sum(part.seconds for part in each), sum(part.overlapped for part in each), spent)
