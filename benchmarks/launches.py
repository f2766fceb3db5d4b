"""What a launcher hands to its kernel, seen without launching, as types and constants for machine_code.py."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

_NAMES = {
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.int8: "i8",
}


class Recorder:
    """Stands in for a kernel and keeps the arguments of its launch."""

    def __init__(self, kernel: Any) -> None:
        self.kernel, self.seen, self.warps = kernel, {}, 4

    def __getitem__(self, grid: Any) -> Any:
        return self._launch

    def _launch(self, *positional: Any, num_warps: int, enable_fp_fusion: bool = True, **named: Any) -> None:
        assert enable_fp_fusion
        values = dict(zip(self.kernel.arg_names, positional, strict=False)) | named
        self.seen = {p.name: values[p.name] if p.is_constexpr else kind(values[p.name]) for p in self.kernel.params}
        self.warps = num_warps


def launch(module: ModuleType, name: str, call: Callable[[], Any]) -> Recorder:
    """The launch of the kernel `name` of `module` that `call` makes."""
    recorder = Recorder(getattr(module, name))
    setattr(module, name, recorder)
    try:
        call()
    finally:
        setattr(module, name, recorder.kernel)
    return recorder


def kind(value: Any) -> Any:
    """The JIT's view of an argument: a type, with its alignment, or a constant."""
    if isinstance(value, torch.Tensor):
        return f"*{_NAMES[value.dtype]}" + ("" if value.data_ptr() % 16 == 0 else ":1")
    if isinstance(value, float):
        return "fp32"
    if value is None or isinstance(value, str | bool) or value == 1:
        return value
    return ("i32" if -(2**31) <= value < 2**31 else "i64") + (":16" if value % 16 == 0 else "")
