"""The matrix products of the search: float32 whatever the process allows elsewhere, by the library that is faster; and
one of bfloat16 numbers."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor

# On AMD processors MKL, behind `torch.mm`, leaves AVX-512 unused: oneDNN makes the same product in half the time there.
_ONEDNN = torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"


def product(a: Tensor, b: Tensor) -> Tensor:
    """a [m, d] and b [n, d], float32, contiguous → a·bᵀ [m, n]."""
    if _ONEDNN and a.device.type == "cpu":
        return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
    return a @ b.T


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the processor has instructions for it; others imitate them slowly or not at all."""
    cpu = device.type == "cpu" and torch.backends.mkldnn.is_available()
    return cpu and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def bfloat16_product(a: Tensor, b: Tensor) -> Tensor:
    """a [m, d] and b [n, d], bfloat16, contiguous → a·bᵀ [m, n] bfloat16, added up in float32. No CPU operation of
    PyTorch hands out those float32 sums, but for float32 operands under a setting of the whole process."""
    return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """float32 products within, which the search's error bound is made for: also under autocast, and where
    `torch.set_float32_matmul_precision` lets processors that have matrix units compute them in bfloat16."""
    cast = torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)
    with torch.autocast(device.type, enabled=False) if cast else nullcontext(), _ieee:
        yield


class _Ieee:
    """The process's setting of float32 products on a CPU: changed by the first thread that enters, put back by the last
    that leaves."""

    def __init__(self) -> None:
        self.lock, self.inside, self.allowed = threading.Lock(), 0, "none"
        self.matmul = getattr(torch.backends.mkldnn, "matmul", None)  # from torch 2.9

    def __enter__(self) -> None:
        with self.lock:
            if self.inside == 0 and self.matmul is not None:
                self.allowed = self.matmul.fp32_precision
                if self.allowed not in ("none", "ieee"):
                    self.matmul.fp32_precision = "ieee"
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0 and self.matmul is not None and self.allowed not in ("none", "ieee"):
                self.matmul.fp32_precision = self.allowed


_ieee = _Ieee()
