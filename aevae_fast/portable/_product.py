"""The matrix product of the search: float32 whatever the process allows elsewhere, by the library that is faster."""

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
    `torch.set_float32_matmul_precision` lets processors that have matrix units compute them in bfloat16. The latter
    setting is the process's."""
    matmul = getattr(torch.backends.mkldnn, "matmul", None)  # from torch 2.9
    allowed = matmul.fp32_precision if matmul is not None else "none"
    cast = torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)
    with torch.autocast(device.type, enabled=False) if cast else nullcontext():
        if matmul is None or allowed in ("none", "ieee"):
            yield
            return
        matmul.fp32_precision = "ieee"
        try:
            yield
        finally:
            matmul.fp32_precision = allowed
