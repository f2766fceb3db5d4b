"""The least time that a device can need: bytes over bandwidth, flops over tensor-core rate, epilogue over issue rate.

For a GPU whose rates are known (devices.py) the floor is the largest of the three. A product of 16-bit numbers
certifies most answers also for float32 input, so its rate is the floor for both dtypes; the comparison after the
product takes at least one half-rate instruction a (row, code) pair. On a CPU the floor is measured instead: a matrix
product of the same sizes into memory that is already there.
"""

from typing import NamedTuple

from .cases import Case, LatentCase, MixtureCase, ResidualCase, ScalarCase
from .devices import device_named

BYTES = {"fp32": 4, "bf16": 2}


class Work(NamedTuple):
    """What a search or a step cannot avoid."""

    bytes: int
    flops: int
    pairs: int


def search_work(case: Case) -> Work:
    """Read x and the codebook once, write indices; one product, one instruction a pair. D below 16 costs as 16."""
    rows, dim, codes, dtype = case
    return Work(rows * dim * BYTES[dtype] + codes * dim * 4 + rows * 8, 2 * rows * codes * max(dim, 16), rows * codes)


def step_bytes(case: Case) -> dict[str, int]:
    """Bytes that each kernel of a training step reads and writes, each tensor once. Codebook, sums and counts are
    float32, indices int64; b is the size of an entry of x.

    search, gather, loss: x and codebook read, quantized and indices written    2·N·D·b + 4·K·D + 8·N
    statistics: x and indices read, sums and counts written                     N·D·b + 8·N + 4·K·D + 4·K
    EMA: sums and counts read, averages and sizes read and written, codebook written          16·K·D + 12·K
    backward: upstream gradient, x, indices and codebook read, gradient written   3·N·D·b + 8·N + 4·K·D
    """
    x, index, table = case.rows * case.dim * BYTES[case.dtype], 8 * case.rows, 4 * case.codes * case.dim
    return {
        "search, gather, loss": 2 * x + table + index,
        "statistics": x + index + table + 4 * case.codes,
        "EMA": 4 * table + 12 * case.codes,
        "backward": 3 * x + index + table,
    }


def step_work(case: Case) -> Work:
    """The search's product and comparisons, and the bytes of all four kernels."""
    return search_work(case)._replace(bytes=sum(step_bytes(case).values()))


def latent_bytes(case: LatentCase) -> dict[str, int]:
    """Bytes of the two kernels of a Gaussian bottleneck, n = N·D elements of b bytes; noise is drawn again, not read.

    sample and KL: mean and log-variance read, the sample and a float32 KL a row written       3·n·b + 4·N
    backward: upstream gradient, mean and log-variance read, two gradients written                   5·n·b
    """
    x = case.rows * case.dim * BYTES[case.dtype]
    return {"sample and KL": 3 * x + 4 * case.rows, "backward": 5 * x}


def latent_work(case: LatentCase) -> Work:
    return Work(sum(latent_bytes(case).values()), 0, 0)


def mixture_work(case: MixtureCase) -> Work:
    """Forward and backward each take one exponential for each (point, component, dimension), at a quarter of the half
    rate. Points, components and their gradients are read and written once."""
    moved = 4 * (3 * case.rows + 4 * case.components) * case.dim
    return Work(moved, 0, 2 * 4 * case.elements)


def residual_work(case: ResidualCase) -> Work:
    """A search a stage; x and the codebooks are read once, the quantized vectors and an index a stage written."""
    search = search_work(Case(case.rows, case.dim, case.codes, case.dtype))
    x = case.rows * case.dim * BYTES[case.dtype]
    moved = 2 * x + case.stages * (4 * case.codes * case.dim + 8 * case.rows)
    return Work(moved, case.stages * search.flops, case.stages * search.pairs)


def residual_step_work(case: ResidualCase) -> Work:
    """The forward, and: x, upstream gradient and indices read and the gradient written; x and indices read for the
    statistics; each codebook, its sums and averages read and written by the EMA update."""
    forward = residual_work(case)
    x = case.rows * case.dim * BYTES[case.dtype]
    moved = 4 * x + case.stages * (2 * 8 * case.rows + 16 * case.codes * case.dim + 8 * case.codes)
    return forward._replace(bytes=forward.bytes + moved)


def scalar_work(case: ScalarCase) -> Work:
    """Forward: x read, codes and an index a row written. Backward: upstream gradient and x read, a gradient written."""
    x = case.rows * case.dim * BYTES[case.dtype]
    return Work(5 * x + 8 * case.rows, 0, 0)


def floor_seconds(work: Work, device_name: str) -> float | None:
    """The floor on a device of that name; None where its rates are not known here."""
    device = device_named(device_name)
    if device is None:
        return None
    return max(work.bytes / device.memory, work.flops / device.tensor, work.pairs / device.half_rate)
