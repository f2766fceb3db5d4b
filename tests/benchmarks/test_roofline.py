"""Floors: bytes counted by hand, rates that fit together, and which limit counts where."""

import pytest

from benchmarks.cases import Case, LatentCase
from benchmarks.devices import DEVICES, device_named
from benchmarks.roofline import floor_seconds, latent_work, search_work, step_bytes, step_work

_FLOPS_A_CLOCK = {"sm_80": 2048, "sm_90": 4096}  # of one processor, dense, 16-bit


def test_bytes_of_a_step_by_hand() -> None:
    """Four rows of two float32, three codes: x takes 32 bytes, indices 32, a [K, D] table 24, a [K] vector 12."""
    case = Case(4, 2, 3)
    assert step_bytes(case) == {
        "search, gather, loss": 32 + 24 + 32 + 32,  # x, codebook; indices, quantized
        "statistics": 32 + 32 + 24 + 12,  # x, indices; sums, counts
        "EMA": 24 + 12 + (24 + 24) + (12 + 12) + 24,  # sums, counts; averages, sizes in and out; codebook
        "backward": 32 + 32 + 32 + 24 + 32,  # upstream, x, indices, codebook; gradient
    }
    assert step_work(case).bytes == 120 + 100 + 132 + 152
    halved = step_bytes(case._replace(dtype="bf16"))  # only what is like x halves
    assert list(halved.values()) == [120 - 32, 100 - 16, 132, 152 - 48]


def test_a_step_adds_bytes_to_a_search_and_nothing_else() -> None:
    case = Case(65536, 64, 1024)
    search, step = search_work(case), step_work(case)
    assert step.bytes - search.bytes == 5 * 65536 * 64 * 4 + 2 * 8 * 65536 + 6 * 4 * 1024 * 64 + 16 * 1024
    assert step._replace(bytes=search.bytes) == search


def test_bytes_of_a_bottleneck_by_hand() -> None:
    assert latent_work(LatentCase(3, 5)).bytes == 8 * 3 * 5 * 4 + 4 * 3
    assert latent_work(LatentCase(3, 5, "bf16")).bytes == 8 * 3 * 5 * 2 + 4 * 3


@pytest.mark.parametrize(
    ("sizes", "fp32", "bf16"),
    [
        pytest.param((65536, 64, 512), 5.2, 4.3, id="memory or product"),
        pytest.param((65536, 64, 1024), 8.7, 8.7, id="product"),
        pytest.param((65536, 256, 16384), 556, 556, id="a large product"),
        pytest.param((65536, 8, 16384), 70, 70, id="comparisons"),
        pytest.param((1024, 256, 16384), 8.7, 8.7, id="few rows"),
    ],
)
def test_floors_of_a_search_on_an_h100(sizes: tuple[int, int, int], fp32: float, bf16: float) -> None:
    for dtype, microseconds in (("fp32", fp32), ("bf16", bf16)):
        floor = floor_seconds(search_work(Case(*sizes, dtype)), "NVIDIA H100 80GB HBM3")
        assert floor == pytest.approx(microseconds * 1e-6, rel=0.02)


@pytest.mark.parametrize("name", DEVICES)
def test_rates_fit_together(name: str) -> None:
    device = DEVICES[name]
    assert device.processors * _FLOPS_A_CLOCK[device.target] * device.clock == pytest.approx(device.tensor, rel=0.01)
    assert device.memory < device.l2 < 10 * device.memory


@pytest.mark.parametrize(
    ("full", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A100-SXM4-40GB", "A100-SXM4-40GB"),
    ],
)
def test_the_longest_name_that_fits_counts(full: str, name: str) -> None:
    assert device_named(full) == DEVICES[name]


def test_an_unknown_device_has_no_floor() -> None:
    assert device_named("some other GPU") is None
    assert floor_seconds(search_work(Case(1, 1, 1)), "some other GPU") is None
