"""Rates of GPUs: one table, for the floors (roofline.py) and for the predictions (cost_model.py).

What makers publish is peak; what a kernel can hope for is a share of it. The shares, the bandwidth of L2 and what a
launch costs are assumptions, marked as such: no record here carries them. A record of a device is what corrects them.
"""

from typing import NamedTuple

# Assumed: a copy reaches nine tenths of the memory's peak, a large matrix product eight tenths of the tensor cores'.
MEMORY_SHARE = 0.9
TENSOR_SHARE = 0.8
# Assumed: six tenths of 5120 bytes a clock, which NVIDIA's white paper gives for the A100's L2; so for later ones too.
L2_BYTES_PER_CLOCK = 0.6 * 5120
# Assumed: from the end of one kernel to when the next one is in full swing, seconds, launched ahead or in a graph.
LAUNCH = 2e-6

# Thread instructions that a processor takes a clock (CUDA C++ Programming Guide, throughput of native instructions, 8.0
# to 9.0): four schedulers issue one warp instruction each; comparisons, minima and integer arithmetic go at half of
# that; exponentials and conversions at an eighth.
ISSUE_LANES, HALF_LANES, SPECIAL_LANES = 128, 64, 16
# What programs that stand beside each other on a processor share: 32-bit registers and warps.
REGISTERS, WARPS = 65536, 64


class Device(NamedTuple):
    """Peak rates of one GPU.

    Attributes:
        memory: DRAM, bytes/s.
        tensor: dense product of 16-bit numbers into fp32, flop/s.
        processors: streaming multiprocessors.
        clock: of the processors, Hz, where the tensor cores' peak is met.
        shared: bytes of shared memory a processor.
        target: whose machine code it runs, as in the record of compiled kernels.
    """

    memory: float
    tensor: float
    processors: int
    clock: float
    shared: int
    target: str

    @property
    def half_rate(self) -> float:
        """Comparisons, minima or integer instructions, thread instructions/s."""
        return self.processors * HALF_LANES * self.clock

    @property
    def l2(self) -> float:
        """Bytes/s that all processors together read from L2; assumed, see above."""
        return L2_BYTES_PER_CLOCK * self.clock


# NVIDIA's data sheets and white papers; a name is looked for in the device's own, and the longest that fits counts.
# The clock is the one at which processors · flops a clock (4096 on Hopper, 2048 on Ampere) is the peak beside it.
DEVICES = {
    "H100": Device(3.35e12, 990e12, 132, 1.83e9, 227 << 10, "sm_90"),
    "H100 PCIe": Device(2.0e12, 756e12, 114, 1.62e9, 227 << 10, "sm_90"),
    "H100 NVL": Device(3.9e12, 835e12, 132, 1.545e9, 227 << 10, "sm_90"),
    "H200": Device(4.8e12, 990e12, 132, 1.83e9, 227 << 10, "sm_90"),
    "GH200": Device(4.0e12, 990e12, 132, 1.83e9, 227 << 10, "sm_90"),
    "A100": Device(2.0e12, 312e12, 108, 1.41e9, 163 << 10, "sm_80"),
    "A100-SXM4-40GB": Device(1.555e12, 312e12, 108, 1.41e9, 163 << 10, "sm_80"),
}


def device_named(name: str) -> Device | None:
    """The GPU that a device's full name speaks of; None where its rates are not known here."""
    known = [part for part in DEVICES if part in name]
    return DEVICES[max(known, key=len)] if known else None
