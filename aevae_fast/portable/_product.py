"""The matrix product of the search: float32 whatever the process allows elsewhere, by the library that is faster."""

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
