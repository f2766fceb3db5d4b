"""The least time that a device can need: bytes over bandwidth, flops over tensor-core rate, epilogue over issue rate.

For a GPU whose rates are known the floor is the largest of the three. A floating-point product in bfloat16 certifies
most answers also for float32 input, so its rate is the floor for both dtypes; the comparison after the product takes at
least one half-rate instruction a (row, code) pair. On a CPU the floor is measured instead: a matrix product of the same
sizes into memory that is already there.
"""

from typing import NamedTuple

from .cases import Case, LatentCase, MixtureCase, ResidualCase, ScalarCase

_BYTES = {"fp32": 4, "bf16": 2}


class Device(NamedTuple):
    """Peak rates: bytes/s, dense bfloat16 flop/s, half-rate instructions/s (processors · lanes · clock)."""

    bandwidth: float
    bf16: float
    half_rate: float


# Makers' data sheets; SXM parts at boost clock.
DEVICES = {
    "H100": Device(3.35e12, 990e12, 132 * 64 * 1.83e9),
    "H200": Device(4.8e12, 990e12, 132 * 64 * 1.83e9),
    "A100": Device(2.0e12, 312e12, 108 * 64 * 1.41e9),
}


class Work(NamedTuple):
    """What a search or a step cannot avoid."""

    bytes: int
    flops: int
    pairs: int


def search_work(case: Case) -> Work:
    """Read x and the codebook once, write indices; one product, one instruction a pair. D below 16 costs as 16."""
    rows, dim, codes, dtype = case
    return Work(rows * dim * _BYTES[dtype] + codes * dim * 4 + rows * 8, 2 * rows * codes * max(dim, 16), rows * codes)


def step_work(case: Case) -> Work:
    """The search, and: quantized written; x, upstream gradient and indices read and the gradient written; x and indices
    read for the statistics; codebook, sums and averages read and written by the EMA update."""
    search = search_work(case)
    x = case.rows * case.dim * _BYTES[case.dtype]
    moved = 5 * x + 2 * 8 * case.rows + 16 * case.codes * case.dim + 8 * case.codes
    return search._replace(bytes=search.bytes + moved)


def latent_work(case: LatentCase) -> Work:
    """Forward: mean and log-variance read, the sample and a KL a row written. Backward: upstream gradient, mean and
    log-variance read, two gradients written; the noise is drawn again, not read."""
    x = case.rows * case.dim * _BYTES[case.dtype]
    return Work(8 * x + 4 * case.rows, 0, 0)


def mixture_work(case: MixtureCase) -> Work:
    """Forward and backward each take one exponential for each (point, component, dimension), at a quarter of the half
    rate. Points, components and their gradients are read and written once."""
    moved = 4 * (3 * case.rows + 4 * case.components) * case.dim
    return Work(moved, 0, 2 * 4 * case.elements)


def residual_work(case: ResidualCase) -> Work:
    """A search a stage; x and the codebooks are read once, the quantized vectors and an index a stage written."""
    search = search_work(Case(case.rows, case.dim, case.codes, case.dtype))
    x = case.rows * case.dim * _BYTES[case.dtype]
    moved = 2 * x + case.stages * (4 * case.codes * case.dim + 8 * case.rows)
    return Work(moved, case.stages * search.flops, case.stages * search.pairs)


def residual_step_work(case: ResidualCase) -> Work:
    """The forward, and: x, upstream gradient and indices read and the gradient written; x and indices read for the
    statistics; each codebook, its sums and averages read and written by the EMA update."""
    forward = residual_work(case)
    x = case.rows * case.dim * _BYTES[case.dtype]
    moved = 4 * x + case.stages * (2 * 8 * case.rows + 16 * case.codes * case.dim + 8 * case.codes)
    return forward._replace(bytes=forward.bytes + moved)


def scalar_work(case: ScalarCase) -> Work:
    """Forward: x read, codes and an index a row written. Backward: upstream gradient and x read, a gradient written."""
    x = case.rows * case.dim * _BYTES[case.dtype]
    return Work(5 * x + 8 * case.rows, 0, 0)


def floor_seconds(work: Work, device_name: str) -> float | None:
    """The floor on a device of that name; None where its rates are not known here."""
    known = [device for name, device in DEVICES.items() if name in device_name]
    if not known:
        return None
    device = known[0]
    return max(work.bytes / device.bandwidth, work.flops / device.bf16, work.pairs / device.half_rate)
